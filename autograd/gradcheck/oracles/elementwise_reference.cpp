// References of elementwise operations: their functors on dual numbers. All operations of list.h have one.
#include "autograd/gradcheck/oracles/reference.h"
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

// Maximum or minimum. Where the operands are equal, (a + b) / 2 has the documented derivative.
struct HalfAtTies {
  bool larger;
  template<class T>
  T operator()(T a, T b) const {
    if (a == b) return (a + b) * T(0.5);
    return (a > b) == larger ? a : b;
  }
};

// The functor whose derivative is the documented derivative of an operation.
template<class Op>
auto functor_of(const Op& op) {
  if constexpr (std::is_same_v<Op, Maximum> || std::is_same_v<Op, Minimum>)
    return HalfAtTies{std::is_same_v<Op, Maximum>};
  else
    return op.f;
}

template<class Op>
std::unique_ptr<Reference> functor_reference(const Op& op, Inputs x) {
  const auto f = functor_of(op);
  return reference(elements(x), [f]<class T>(std::size_t, std::span<const T> in, std::span<T> out) {
    if constexpr (requires(T v) { f(v); })
      out[0] = f(in[0]);
    else if constexpr (requires(T v) { f(v, v); })
      out[0] = f(in[0], in[1]);
    else
      out[0] = f(in[0], in[1], in[2]);
  });
}

std::unique_ptr<Reference> where_reference(Inputs x) {
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

}  // namespace

std::unique_ptr<Reference> elementwise_reference(const OpBase& op, Inputs x) {
#define BOBBIN_REFERENCE(Kind, Op) \
  if (const Op* found = as<Op>(op)) return functor_reference(*found, x);
  BOBBIN_UNARY_OPS(BOBBIN_REFERENCE)
  BOBBIN_ACTIVATION_OPS(BOBBIN_REFERENCE)
  BOBBIN_BACKWARD_OPS(BOBBIN_REFERENCE)
  BOBBIN_BINARY_OPS(BOBBIN_REFERENCE)
  BOBBIN_LOSS_OPS(BOBBIN_REFERENCE)
#undef BOBBIN_REFERENCE
#define BOBBIN_REFERENCE_BACKWARD(Kind, Op) \
  if (const auto* found = as<Backward<Op>>(op)) return functor_reference(*found, x);
  BOBBIN_SMOOTH_OPS(BOBBIN_REFERENCE_BACKWARD)
#undef BOBBIN_REFERENCE_BACKWARD
  if (as<Where>(op)) return where_reference(x);
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
