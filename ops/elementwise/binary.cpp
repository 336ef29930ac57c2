#include "ops/elementwise/binary.h"

#include "core/strided_copy.h"

namespace bobbin {

TensorSpec Where::infer(Inputs x) const {
  if (x[0].dtype() != DType::boolean)
    fail<DTypeError>(name, ": expected a bool condition; got ", x[0].spec(), "; compare it, as in x > 0");
  require_same_dtype(name, x[1], x[2]);
  return {broadcast(name, x[0].shape(), broadcast(name, x[1].shape(), x[2].shape())), x[1].dtype(),
          x[1].device()};
}

Grads Where::vjp(const Vjp& v) const {
  const Tensor &c = v.input(0), none = scalar(0, v.grad);
  return sum_back(
      v, [] { return Tensor(); }, [&] { return where(c, v.grad, none); },
      [&] { return where(c, none, v.grad); });
}

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

void ToDType::cpu(Inputs x, Tensor& y) const { copy_elements(x[0], y); }

std::vector<Sample> ToDType::samples() {
  const auto call = [](DType d) { return [d](Inputs x) { return to(to(x[0], d), DType::f64); }; };
  // Derivatives are compared where rounding does not blur the differences.
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

Tensor add(const Tensor& a, const Tensor& b) { return record(Add{}, {a, b}); }
Tensor sub(const Tensor& a, const Tensor& b) { return record(Sub{}, {a, b}); }
Tensor mul(const Tensor& a, const Tensor& b) { return record(Mul{}, {a, b}); }
Tensor div(const Tensor& a, const Tensor& b) { return record(Div{}, {a, b}); }
Tensor pow(const Tensor& a, const Tensor& b) { return record(Pow{}, {a, b}); }
Tensor maximum(const Tensor& a, const Tensor& b) { return record(Maximum{}, {a, b}); }
Tensor minimum(const Tensor& a, const Tensor& b) { return record(Minimum{}, {a, b}); }
Tensor eq(const Tensor& a, const Tensor& b) { return record(Eq{}, {a, b}); }
Tensor ne(const Tensor& a, const Tensor& b) { return record(Ne{}, {a, b}); }
Tensor lt(const Tensor& a, const Tensor& b) { return record(Lt{}, {a, b}); }
Tensor le(const Tensor& a, const Tensor& b) { return record(Le{}, {a, b}); }
Tensor gt(const Tensor& a, const Tensor& b) { return record(Gt{}, {a, b}); }
Tensor ge(const Tensor& a, const Tensor& b) { return record(Ge{}, {a, b}); }
Tensor where(const Tensor& c, const Tensor& a, const Tensor& b) { return record(Where{}, {c, a, b}); }
Tensor to(const Tensor& x, DType d) { return x.dtype() == d ? x : record(ToDType{d}, {x}); }

}  // namespace bobbin
