// Samples of where() and of conversions. The samples of the other elementwise operations are in their
// structs.
#include "ops/samples.h"

#include <cmath>

#include "ops/elementwise/binary.h"

namespace bobbin {

std::vector<Sample> Where::samples() {
  const auto call = [](Inputs x) { return where(x[0], x[1], x[2]); };
  const Tensor mask = to(bernoulli({3, 4}, 0.5), DType::boolean);
  return {{"3x4", {mask, sample_input({3, 4}), sample_input({3, 4})}, call},
          {"all broadcast", {mask, sample_input({2, 1, 4}), sample_input({})}, call},
          {"empty", {zeros({0}, DType::boolean), sample_input({1}), sample_input({0})}, call},
          invalid("condition", {sample_input({2}), sample_input({2}), sample_input({2})}, call,
                  "where: expected a bool condition; got f64[2]; compare it, as in x > 0"),
          invalid("dtypes", {mask, sample_input({4}), tensor({1, 2, 3, 4})}, call,
                  "where: dtypes must agree; got f64[4] and f32[4]; convert one with to(x, DType)")};
}

std::vector<Sample> ToDType::samples() {
  const auto call = [](DType d) { return [d](Inputs x) { return to(to(x[0], d), DType::f64); }; };
  // Finite differences are compared in f64 alone: rounding to another type would make them wrong.
  return {
      {"f64 clone", {sample_input({3, 4})}, [](Inputs x) { return record(ToDType{DType::f64}, x); }},
      {"empty", {sample_input({0, 2})}, [](Inputs x) { return record(ToDType{DType::f64}, x); }},
      {"special values", {tensor({INFINITY, -INFINITY, NAN, -0.0}, DType::f64)}, call(DType::f32), {}, false},
      {"through f32", {sample_input({3, 4})}, call(DType::f32), {}, false},
      {"through bf16", {sample_input({3, 4})}, call(DType::bf16), {}, false},
      {"through f16", {sample_input({3, 4}, -7e4, 7e4)}, call(DType::f16), {}, false},
      {"through i32", {sample_input({3, 4}, -9, 9)}, call(DType::i32), {}, false},
      {"through u8", {sample_input({3, 4}, -300, 300)}, call(DType::u8), {}, false},
      {"through bool", {tensor({0, 0.5, -3}, DType::f64)}, call(DType::boolean), {}, false},
      invalid(
          "undefined", {Tensor()}, [](Inputs x) { return record(ToDType{DType::f32}, x); },
          "to_dtype: its tensors are undefined")};
}

}  // namespace bobbin
