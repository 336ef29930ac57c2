// Calls of attention, for the tests and the gradient checker.
#include "ops/attention/samples.h"

#include <bobbin/attention.h>
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include "ops/samples.h"

namespace bobbin {

std::vector<Sample> attention_samples() {
  const auto with = [](bool causal) {
    return [causal](Inputs x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.causal = causal}); };
  };
  return {batch({"two heads",
                 {sample_input({2, 3, 4}), sample_input({2, 5, 4}), sample_input({2, 5, 2})},
                 with(false)}),
          {"causal", {sample_input({4, 3}), sample_input({4, 3}), sample_input({4, 2})}, with(true)},
          {"masks",
           {sample_input({2, 3}), sample_input({3, 3}), sample_input({3, 2}), sample_input({2, 3})},
           [](Inputs x) {
             const Tensor some = tensor({{1, 0, 1}, {1, 1, 0}}, DType::boolean);
             return scaled_dot_product_attention(x[0], x[1], x[2], {.mask = to(some, x[0].device())}) +
                    scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3]});
           }},
          {"queries that see nothing",
           {sample_input({3, 3}), sample_input({2, 3}), sample_input({2, 2})},
           [](Inputs x) {
             const Tensor some = tensor({{1, 0}, {0, 0}, {1, 1}}, DType::boolean);
             return scaled_dot_product_attention(x[0], x[1], x[2], {.mask = to(some, x[0].device())});
           }},
          {"nothing to ask", {sample_input({0, 3}), sample_input({4, 3}), sample_input({4, 2})}, with(false)},
          invalid("sizes", {sample_input({2, 3}), sample_input({4, 2}), sample_input({4, 2})}, with(false),
                  "scaled_dot_product_attention: expected query [..., l, d], key [..., s, d] and value [..., "
                  "s, e]; got "
                  "f64[2,3], f64[4,2] and f64[4,2]")};
}

}  // namespace bobbin
