// Calls of attention, for the tests and the gradient checker.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include "ops/attention/attention.h"

namespace bobbin {
namespace {

// Queries, keys and values.
std::vector<Tensor> three(const Shape& query, const Shape& key, const Shape& value) {
  return {sample_input(query), sample_input(key), sample_input(value)};
}

Tensor attend(Inputs x, AttentionOptions o) {
  if (o.mask) o.mask = to(o.mask, x[0].device());
  return scaled_dot_product_attention(x[0], x[1], x[2], o);
}

}  // namespace

std::vector<Sample> Attention::samples() {
  const auto with = [](const AttentionOptions& o) { return [o](Inputs x) { return attend(x, o); }; };
  // The draw of dropout is the call's, so that it is the same each time.
  const auto dropped = [](double p) {
    return [p](Inputs x) {
      const GeneratorScope fixed({7, 3});
      return attend(x, {.causal = true, .dropout = p});
    };
  };
  const Tensor some = tensor({{1, 0, 1}, {1, 1, 0}}, DType::boolean);
  const std::string sizes = "expected query [..., l, d], key [..., s, d] and value [..., s, e]; got ";
  return {
      batch({"two heads", three({2, 3, 4}, {2, 5, 4}, {2, 5, 2}), with({})}),
      {"causal", three({4, 3}, {4, 3}, {4, 2}), with({.causal = true})},
      {"masks",
       {sample_input({2, 3}), sample_input({3, 3}), sample_input({3, 2}), sample_input({2, 3})},
       [some](Inputs x) { return attend(x, {.mask = some}) + attend(x, {.mask = x[3]}); }},
      {"a mask for all queries and heads",
       {sample_input({2, 2, 3, 2}), sample_input({2, 2, 4, 2}), sample_input({2, 2, 4, 3}),
        sample_input({2, 1, 1, 4})},
       [](Inputs x) { return attend(x, {.mask = x[3], .causal = true}); }},
      {"queries that see nothing", three({3, 3}, {2, 3}, {2, 2}),
       with({.mask = tensor({{1, 0}, {0, 0}, {1, 1}}, DType::boolean)})},
      {"padded keys", three({2, 2, 2, 3}, {2, 2, 3, 3}, {2, 2, 3, 2}),
       with({.mask = reshape(some, {2, 1, 1, 3})})},
      {"grouped heads", three({2, 4, 3, 2}, {2, 2, 3, 2}, {2, 2, 3, 4}),
       with({.causal = true, .enable_gqa = true})},
      {"one head for all queries", three({4, 2, 3}, {1, 3, 3}, {1, 3, 2}),
       with({.scale = 0.75, .enable_gqa = true})},
      {"leading axes", three({2, 1, 2, 2, 3}, {3, 1, 4, 3}, {1, 4, 2}), with({})},
      {"dropout", three({2, 5, 3}, {2, 5, 3}, {2, 5, 2}), dropped(0.4)},
      {"one weight dominates", three({2, 4, 3}, {2, 4, 3}, {2, 4, 2}), with({.scale = 1})},
      {"of views", three({3, 2, 2, 4}, {3, 2, 2, 4}, {3, 2, 4, 2}),
       [](Inputs x) {
         return attend(std::vector{permute(x[0], {1, 2, 0, 3}), permute(x[1], {1, 2, 0, 3}),
                                   permute(x[2], {1, 3, 0, 2})},
                       {});
       }},
      {"more than a block", three({1, 1, 65, 1}, {1, 1, 130, 1}, {1, 1, 130, 1}), with({}), {}, false},
      {"nothing to ask", three({0, 3}, {4, 3}, {4, 2}), with({})},
      {"no keys", three({3, 2}, {0, 2}, {0, 4}), with({})},
      {"no size", three({2, 0}, {3, 0}, {3, 2}), with({})},
      invalid("sizes", three({2, 3}, {4, 2}, {4, 2}), with({}),
              std::string(name) + ": " + sizes + "f64[2,3], f64[4,2] and f64[4,2]"),
      invalid("heads", three({3, 2, 3}, {2, 4, 3}, {2, 4, 2}), with({.enable_gqa = true}),
              std::string(name) +
                  ": with enable_gqa, expected query [..., h, l, d], key [..., k, s, d] and value [..., k, "
                  "s, e] with h a multiple of k; got f64[3,2,3], f64[2,4,3] and f64[2,4,2]"),
      invalid("mask", three({2, 3}, {4, 3}, {4, 2}), with({.mask = ones({2, 3}, DType::boolean)}),
              std::string(name) + ": expected a mask that broadcasts to [..., 2, 4]; got bool[2,3]"),
      invalid(
          "dtype of the mask", three({2, 3}, {4, 3}, {4, 2}), with({.mask = ones({4}, DType::i64)}),
          std::string(name) + ": expected a bool mask, or a floating one for queries of f64; got i64[4]")};
}

}  // namespace bobbin
