// Elementwise operations: their functors, on dual numbers.
#include "autograd/gradcheck/reference.h"
#include "ops/elementwise/activation.h"
#include "ops/elementwise/binary.h"
#include "ops/elementwise/unary.h"
#include "ops/loss/elementwise_loss.h"

namespace bobbin::gradcheck_detail {
namespace {

std::vector<Cell> elements(Inputs x, std::size_t first = 0) {
  Shape shape = x[0].shape();
  for (const Tensor& t : x) shape = broadcast("gradcheck", shape, t.shape());
  std::vector<Cell> cells(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = first; i < x.size(); ++i) {
    const auto from = broadcast_indices(x[i].shape(), shape);
    for (std::size_t j = 0; j < cells.size(); ++j) cells[j].in.push_back({static_cast<int>(i), from[j]});
  }
  for (std::size_t j = 0; j < cells.size(); ++j) cells[j].out = {static_cast<std::int64_t>(j)};
  return cells;
}

template<class F>
std::unique_ptr<Reference> unary(const F& f, Inputs x) {
  return reference(elements(x),
                   [f]<class T>(std::size_t, std::span<const T> in, std::span<T> out) { out[0] = f(in[0]); });
}
template<class F>
std::unique_ptr<Reference> binary(const F& f, Inputs x) {
  return reference(elements(x), [f]<class T>(std::size_t, std::span<const T> in, std::span<T> out) {
    out[0] = f(in[0], in[1]);
  });
}

template<class Op>
bool match(const OpBase& op, Inputs x, std::unique_ptr<Reference>& out) {
  const Op* found = as<Op>(op);
  if (!found) return false;
  if constexpr (requires(double v) { found->f(v); })
    out = unary(found->f, x);
  else
    out = binary(found->f, x);
  return true;
}

template<class... Ops>
std::unique_ptr<Reference> first_match(const OpBase& op, Inputs x) {
  std::unique_ptr<Reference> out;
  (match<Ops>(op, x, out) || ...);
  return out;
}

// (a + b) / 2 where the operands are equal: the derivative that is documented there.
struct HalfAtTies {
  bool larger;
  template<class T>
  T operator()(T a, T b) const {
    if (a == b) return (a + b) * T(0.5);
    return (a > b) == larger ? a : b;
  }
};

}  // namespace

std::unique_ptr<Reference> elementwise_reference(const OpBase& op, Inputs x) {
  if (as<Maximum>(op)) return binary(HalfAtTies{true}, x);
  if (as<Minimum>(op)) return binary(HalfAtTies{false}, x);
  if (as<Where>(op)) {
    const Shape shape =
        broadcast("gradcheck", broadcast("gradcheck", x[0].shape(), x[1].shape()), x[2].shape());
    const auto from = broadcast_indices(x[0].shape(), shape);
    const auto condition = x[0].to_vector<double>();
    std::vector<bool> chosen;
    for (const std::int64_t i : from) chosen.push_back(condition[static_cast<std::size_t>(i)] != 0);
    return reference(elements(x, 1),
                     [chosen]<class T>(std::size_t cell, std::span<const T> in, std::span<T> out) {
                       out[0] = chosen[cell] ? in[0] : in[1];
                     });
  }
  return first_match<Neg, Abs, Sign, Square, Exp, Expm1, Log, Log1p, Sqrt, Rsqrt, Reciprocal, Sin, Cos, Tanh,
                     Erf, PowScalar, Clamp, Sigmoid, Relu, ReluBackward, LeakyRelu, Elu, Silu, Softplus,
                     GeluErf, GeluTanh, Add, Sub, Mul, Div, Pow, SquaredError, AbsoluteError, Huber,
                     BceWithLogits, KlDiv>(op, x);
}

}  // namespace bobbin::gradcheck_detail
