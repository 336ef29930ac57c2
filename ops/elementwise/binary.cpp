// Functions of two numbers, choice and conversion: the longer members of their structs, and the public
// functions.
#include "ops/elementwise/binary.h"

#include <cmath>

#include "core/convert.h"
#include "core/strided_copy.h"
#include "ops/promote.h"

namespace bobbin {

TensorSpec Where::infer(Inputs x) const {
  if (x[0].dtype() != DType::boolean)
    fail<DTypeError>(name, ": expected a bool condition; got ", x[0].spec(), "; compare it, as in x > 0");
  require_same_dtype(name, x[1], x[2]);
  return {broadcast(name, x[0].shape(), broadcast(name, x[1].shape(), x[2].shape())), x[1].dtype(),
          x[1].device()};
}

void Where::cpu(Inputs x, Tensor& y) const {
  detail::visit_compute<fn::Where>(y.dtype(),
                                   [&]<class T>(Type<T>) { detail::map<bool, T, T>(fn::Where{}, x, y); });
}

Grads Where::vjp(const Vjp& v) const {
  const Tensor &c = v.input(0), none = scalar(0, v.grad);
  return sum_back(
      v, [] { return Tensor(); }, [&] { return where(c, v.grad, none); },
      [&] { return where(c, none, v.grad); });
}

void ToDType::cpu(Inputs x, Tensor& y) const { copy_elements(x[0], y); }

namespace detail {
namespace {

Tensor everywhere(const Tensor& x, bool value) {
  return full(x.shape(), value ? 1 : 0, DType::boolean, x.device());
}

// compare(x, limit), where the limit is an integer, or infinite, for an integer dtype. One beyond the dtype
// is above or below all elements.
Tensor with_limit(Tensor (*compare)(const Tensor&, const Tensor&), const Tensor& x, double limit, bool above,
                  bool below) {
  if (can_hold(x.dtype(), limit)) return compare(x, scalar(limit, x));
  return everywhere(x, limit > 0 ? above : limit < 0 && below);
}
bool rounds(const Tensor& x) { return !is_floating(x.dtype()); }

}  // namespace

Tensor operand(std::string_view op, double value, const Tensor& x) {
  if (!can_hold(x.dtype(), value))
    fail<DTypeError>(op, ": no ", x.dtype(), " is ", value, "; convert the tensor, as in to(x, DType::f64)");
  return scalar(value, x);
}

// An integer is below b if it is below the least integer that is not, and so on.
Tensor lt(const Tensor& x, double b) {
  return with_limit(bobbin::lt, x, rounds(x) ? std::ceil(b) : b, true, false);
}
Tensor le(const Tensor& x, double b) {
  return with_limit(bobbin::le, x, rounds(x) ? std::floor(b) : b, true, false);
}
Tensor gt(const Tensor& x, double b) {
  return with_limit(bobbin::gt, x, rounds(x) ? std::floor(b) : b, false, true);
}
Tensor ge(const Tensor& x, double b) {
  return with_limit(bobbin::ge, x, rounds(x) ? std::ceil(b) : b, false, true);
}

}  // namespace detail

Tensor add(const Tensor& a, const Tensor& b) { return record_promoted(Add{}, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return record_promoted(Sub{}, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return record_promoted(Mul{}, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return record_promoted(Div{}, a, b); }
Tensor pow(const Tensor& a, const Tensor& b) { return record_promoted(Pow{}, a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return record_promoted(Maximum{}, a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return record_promoted(Minimum{}, a, b); }
Tensor eq(const Tensor& a, const Tensor& b) { return record_promoted(Eq{}, a, b); }
Tensor ne(const Tensor& a, const Tensor& b) { return record_promoted(Ne{}, a, b); }
Tensor lt(const Tensor& a, const Tensor& b) { return record_promoted(Lt{}, a, b); }
Tensor le(const Tensor& a, const Tensor& b) { return record_promoted(Le{}, a, b); }
Tensor gt(const Tensor& a, const Tensor& b) { return record_promoted(Gt{}, a, b); }
Tensor ge(const Tensor& a, const Tensor& b) { return record_promoted(Ge{}, a, b); }
Tensor where(const Tensor& c, const Tensor& a, const Tensor& b) {
  return promotes(a, b) ? record(Where{}, {c, to(a, DType::f32), to(b, DType::f32)})
                        : record(Where{}, {c, a, b});
}
Tensor to(const Tensor& x, DType d) { return x.dtype() == d ? x : record(ToDType{d}, {x}); }

}  // namespace bobbin
