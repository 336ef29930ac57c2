// Rules of the softmax family, reductions and running sums.
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include <cmath>
#include <limits>

#include "autograd/onnx/rules.h"
#include "ops/reduce/cumsum.h"
#include "ops/reduce/reduce.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax.h"

namespace bobbin::onnx {

using Name = std::string;

// Up to opset 17, reductions other than ReduceSum take their axes as an attribute.
Name reduce(Graph& g, const char* type, const Name& x, const Ints& axes, bool keep) {
  if (g.opset >= 18 && !axes.empty())
    return g.add(type, {x, g.sizes(axes)}, {{"keepdims", std::int64_t{keep}}});
  Attributes attributes;
  if (!axes.empty()) attributes.push_back({"axes", axes});
  attributes.push_back({"keepdims", std::int64_t{keep}});
  return g.add(type, {x}, attributes);
}

namespace {

Ints axes_of(const ReductionAxes& over, const Tensor& x) {
  const Axes axes = over.normalized(x.shape());
  return {axes.begin(), axes.end()};
}

Name sum(Graph& g, const Name& x, const Ints& axes, bool keep) {
  std::vector<Name> in{x};
  if (!axes.empty()) in.push_back(g.sizes(axes));
  return g.add("ReduceSum", in, {{"keepdims", std::int64_t{keep}}});
}

template<Operator T>
void add_reduction(Rules& r, const char* type) {
  add_rule<T>(r, [type](Graph& g, const T& op, const Step& s) {
    return reduce(g, type, s.in[0], axes_of(op.over, s.x[0]), op.over.keepdim);
  });
}

// The operand in the dtype of the sum: sums of integers are i64.
Name as_sum(Graph& g, const Step& s) {
  if (s.x[0].dtype() == s.dtype) return s.in[0];
  return g.cast(s.in[0], s.dtype);
}

// The square of the deviations' sum takes off what rounding left in the mean (the corrected two-pass
// algorithm).
Name variance(Graph& g, const ReductionAxes& over, double correction, const Step& s) {
  const Ints axes = axes_of(over, s.x[0]);
  const Name centred = g.add("Sub", {s.in[0], reduce(g, "ReduceMean", s.in[0], axes, true)});
  const Name squares = sum(g, g.add("Mul", {centred, centred}), axes, over.keepdim),
             rest = sum(g, centred, axes, over.keepdim);
  const auto count = static_cast<double>(over.count(s.x[0].shape()));
  const Name total =
      g.add("Sub", {squares, g.add("Div", {g.add("Mul", {rest, rest}), g.number(count, s.dtype)})});
  const double freedom = count - correction;
  const double divisor = freedom > 0 ? freedom : std::numeric_limits<double>::quiet_NaN();
  return g.add("Div", {total, g.number(divisor, s.dtype)});
}

Name norm(Graph& g, const Norm& op, const Step& s) {
  const Ints axes = axes_of(op.over, s.x[0]);
  const bool keep = op.over.keepdim;
  if (op.p == 1) return reduce(g, "ReduceL1", s.in[0], axes, keep);
  if (op.p == 2) return reduce(g, "ReduceL2", s.in[0], axes, keep);
  const Name size = g.add("Abs", s.in);
  if (std::isinf(op.p)) return reduce(g, "ReduceMax", size, axes, keep);
  const Name powers = g.add("Pow", {size, g.number(op.p, s.dtype)});
  return g.add("Pow", {sum(g, powers, axes, keep), g.number(1 / op.p, s.dtype)});
}

// ArgMax and ArgMin take one axis in ONNX. Over all axes, the operand is flattened first.
template<Operator T>
void add_arg_extreme(Rules& r, const char* type) {
  add_rule<T>(r, [type](Graph& g, const T& op, const Step& s) {
    const Ints axes = axes_of(op.over, s.x[0]);
    const auto along = [&](const Name& x, std::int64_t axis, bool keep) {
      return g.add(type, {x}, {{"axis", axis}, {"keepdims", std::int64_t{keep}}});
    };
    if (axes.size() == 1) return along(s.in[0], axes[0], op.over.keepdim);
    if (static_cast<int>(axes.size()) != s.x[0].rank()) fail<ValueError>("over some of several axes");
    const Name flat = g.add("Reshape", {s.in[0], g.sizes(Ints{-1})});
    return g.add("Reshape", {along(flat, 0, false), g.sizes(s.y.shape())});
  });
}

template<Operator T>
void add_rows(Rules& r, const char* type) {
  add_rule<T>(r, [type](Graph& g, const T& op, const Step& s) {
    if (s.x[0].rank() == 0) fail<ValueError>("of a scalar");
    return g.add(type, s.in, {{"axis", std::int64_t{op.axis}}});
  });
}

// The causal mask of [..., l, s]: true for columns up to the row's number. Computed by nodes, so that both
// sizes may be open.
Name causal_mask(Graph& g, const Shape& shape) {
  const auto indices = [&](int axis) {
    const Name size = g.add("Squeeze", {g.sizes(Ints{shape[shape.size() + axis]})});
    return g.add("Range", {g.number(0, DType::i64), size, g.number(1, DType::i64)});
  };
  const Name rows = g.add("Reshape", {indices(-2), g.sizes(Ints{-1, 1})});
  return g.add("GreaterOrEqual", {rows, indices(-1)});
}

Name masked_softmax(Graph& g, const MaskedSoftmax& op, const Step& s) {
  Name x = s.in[0];
  const Name never = g.number(-std::numeric_limits<double>::infinity(), s.dtype);
  const auto leave = [&](const Name& mask) { x = g.add("Where", {mask, x, never}); };
  if (s.x.size() > 1) leave(s.in[1]);
  if (op.causal) leave(causal_mask(g, s.y.shape()));
  const Name y = g.add("Softmax", {x}, {{"axis", std::int64_t{s.y.rank() - 1}}});
  if (!op.empty_is_zero) return y;
  // ONNX's Softmax of a row of -inf alone is NaN.
  const Name most = reduce(g, "ReduceMax", x, Ints{-1}, true);
  return g.add("Where", {g.add("Equal", {most, never}), g.number(0, s.dtype), y});
}

}  // namespace

void add_reductions(Rules& r) {
  add_rows<Softmax>(r, "Softmax");
  add_rows<LogSoftmax>(r, "LogSoftmax");
  add_rule<MaskedSoftmax>(r, masked_softmax);
  add_rule<Sum>(r, [](Graph& g, const Sum& op, const Step& s) {
    return sum(g, as_sum(g, s), axes_of(op.over, s.x[0]), op.over.keepdim);
  });
  add_reduction<Mean>(r, "ReduceMean");
  add_reduction<Max>(r, "ReduceMax");
  add_reduction<AMax>(r, "ReduceMax");
  add_reduction<Min>(r, "ReduceMin");
  add_reduction<AMin>(r, "ReduceMin");
  add_reduction<LogSumExp>(r, "ReduceLogSumExp");
  add_rule<Var>(
      r, [](Graph& g, const Var& op, const Step& s) { return variance(g, op.over, op.correction, s); });
  add_rule<Std>(r, [](Graph& g, const Std& op, const Step& s) {
    return g.add("Sqrt", {variance(g, op.over, op.correction, s)});
  });
  add_rule<Norm>(r, norm);
  add_arg_extreme<ArgMax>(r, "ArgMax");
  add_arg_extreme<ArgMin>(r, "ArgMin");
  compute_in<Max>(r, DType::i32, {DType::boolean});
  compute_in<AMax>(r, DType::i32, {DType::boolean});
  compute_in<Min>(r, DType::i32, {DType::boolean});
  compute_in<AMin>(r, DType::i32, {DType::boolean});
  compute_in<ArgMax>(r, DType::i32, {DType::boolean});
  compute_in<ArgMin>(r, DType::i32, {DType::boolean});
  add_rule<CumSum>(r, [](Graph& g, const CumSum& op, const Step& s) {
    return g.add("CumSum", {as_sum(g, s), g.constant("axis", full({}, op.axis, DType::i64))},
                 {{"reverse", std::int64_t{op.reverse}}});
  });
}

}  // namespace bobbin::onnx
