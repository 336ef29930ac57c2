// Calls of matmul and linear, for the tests and the gradient checker.
#include "ops/samples.h"

#include <bobbin/view.h>

#include "ops/matmul/linear.h"
#include "ops/matmul/matmul.h"

namespace bobbin {

std::vector<Sample> Matmul::samples() {
  const auto call = [](Inputs x) { return matmul(x[0], x[1]); };
  const auto sample = [&](std::string note, Shape a, Shape b) {
    return Sample{std::move(note), {sample_input(a), sample_input(b)}, call};
  };
  std::vector<Sample> samples{sample("2x3 by 3x4", {2, 3}, {3, 4}),
                              sample("vector by vector", {4}, {4}),
                              sample("vector by matrix", {3}, {3, 2}),
                              sample("matrix by vector", {2, 3}, {3}),
                              batch(sample("batches", {2, 2, 3}, {2, 3, 2})),
                              sample("batch by matrix", {2, 2, 3}, {3, 2}),
                              sample("broadcast batches", {2, 1, 2, 2}, {3, 2, 1}),
                              sample("nothing inside", {2, 0}, {0, 3}),
                              sample("no rows", {0, 2}, {2, 3}),
                              {"both transposed",
                               {sample_input({3, 2}), sample_input({4, 3})},
                               [](Inputs x) { return matmul(transpose(x[0]), transpose(x[1])); }},
                              {"expanded",
                               {sample_input({1, 3}), sample_input({3, 1})},
                               [](Inputs x) {
                                 return matmul(expand(x[0], {2, 3}), expand(x[1], {3, 2}));
                               }},
                              {"every other column",
                               {sample_input({2, 6}), sample_input({3, 2})},
                               [](Inputs x) { return matmul(slice(x[0], 1, 0, 6, 2), x[1]); }},
                              invalid("inner dimensions", {tensor({{1, 2}}), tensor({{1}, {2}, {3}})}, call,
                                      "matmul: inner dimensions must agree; got f32[1,2] and f32[3,1]"),
                              invalid("vectors", {sample_input({3}), sample_input({4})}, call,
                                      "matmul: inner dimensions must agree; got f64[3] and f64[4]"),
                              invalid("scalar", {sample_input({}), sample_input({2, 2})}, call,
                                      "matmul: expected at least one dimension; got f64[] and f64[2,2]"),
                              invalid("integers", {zeros({2, 2}, DType::i64), zeros({2, 2}, DType::i64)},
                                      call, "matmul: expected a floating-point tensor; got i64[2,2]")};
  samples.push_back({"several tiles", {sample_input({300, 40}), sample_input({40, 150})}, call, {}, false});
  return samples;
}

std::vector<Sample> Linear::samples() {
  std::vector<Sample> samples;
  const auto with = [](Activation a) { return [a](Inputs x) { return linear(x[0], x[1], x[2], a); }; };
  const std::pair<const char*, Activation> all[] = {
      {"no activation", Activation::none}, {"gelu", Activation::gelu}, {"tanh", Activation::tanh},
      {"sigmoid", Activation::sigmoid},    {"silu", Activation::silu}, {"relu", Activation::relu}};
  for (auto& [note, activation] : all)
    samples.push_back(
        {note, {sample_input({3, 2}), sample_input({2, 2}), sample_input({2})}, with(activation)});
  // Far enough from the kink on either side: weights are small against the bias.
  samples.back().inputs = {sample_input({3, 2}, -0.1, 0.1), sample_input({2, 2}),
                           tensor({1, -1}, DType::f64)};
  const auto no_bias = [](Inputs x) { return linear(x[0], x[1]); };
  samples.push_back(batch({"no bias", {sample_input({2, 2, 3}), sample_input({2, 3})}, no_bias}));
  samples.push_back({"no bias, silu", {sample_input({2, 3}), sample_input({2, 3})}, [](Inputs x) {
                       return linear(x[0], x[1], {}, Activation::silu);
                     }});
  samples.push_back({"one row", {sample_input({3}), sample_input({2, 3})}, no_bias});
  samples.push_back({"no rows", {sample_input({0, 3}), sample_input({2, 3})}, no_bias});
  samples.push_back({"several tiles",
                     {sample_input({70, 90}), sample_input({300, 90}), sample_input({300})},
                     with(Activation::relu),
                     {},
                     false});
  samples.push_back(invalid("in", {sample_input({2, 3}), sample_input({3, 2}), sample_input({3})},
                            with(Activation::none),
                            "linear: expected x [..., in] and weight [out, in]; got f64[2,3] and f64[3,2]"));
  samples.push_back(invalid("bias", {sample_input({2, 3}), sample_input({4, 3}), sample_input({3})},
                            with(Activation::none), "linear: expected a bias [4]; got f64[3]"));
  return samples;
}

}  // namespace bobbin
