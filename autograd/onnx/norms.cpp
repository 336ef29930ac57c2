// Rules of layer norm, RMS norm, group norm, and of batch norm by running statistics.
#include "autograd/onnx/rules.h"
#include "ops/check.h"
#include "ops/norm/batch_norm.h"
#include "ops/norm/row_norm.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;

Name affine(Graph& g, Name y, const Name& weight, const Name& bias) {
  if (!weight.empty()) y = g.add("Mul", {y, weight});
  return bias.empty() ? y : g.add("Add", {y, bias});
}

// LayerNormalization of the last axes, from `axis` on. ONNX wants a scale: ones, of x's shape there, if none
// is given.
Name layer(Graph& g, const Name& x, Name scale, const Name& bias, int axis, double eps, const Shape& over,
           DType d) {
  if (scale.empty()) scale = g.constant("ones", ones(over, d));
  std::vector<Name> in{x, scale};
  if (!bias.empty()) in.push_back(bias);
  return g.add("LayerNormalization", in, {{"axis", std::int64_t{axis}}, {"epsilon", eps}});
}

// The last axes of a shape that have `length` elements: how many.
int last_axes(const Shape& x, std::int64_t length) {
  int count = 0;
  for (std::int64_t n = 1; count == 0 || n < length; ++count) n *= x[x.size() - 1 - count];
  return count;
}

Name layer_norm(Graph& g, const LayerNorm& op, const Step& s) {
  const Shape& shape = s.y.shape();
  const int axes = s.x[1] ? s.x[1].rank() : s.x[2] ? s.x[2].rank() : last_axes(shape, op.layout.length);
  Shape over;
  for (int i = shape.size() - axes; i < shape.size(); ++i) over.push_back(shape[i]);
  return layer(g, s.in[0], s.in[1], s.in[2], -axes, op.eps, over, s.dtype);
}

// RMSNormalization is there from opset 23 on.
Name rms_norm(Graph& g, const RmsNorm& op, const Step& s) {
  const int axes = s.x[1] ? s.x[1].rank() : last_axes(s.y.shape(), op.layout.length);
  if (g.opset >= 23) {
    Shape over;
    for (int i = s.y.rank() - axes; i < s.y.rank(); ++i) over.push_back(s.y.shape()[i]);
    const Name scale = s.in[1].empty() ? g.constant("ones", ones(over, s.dtype)) : s.in[1];
    return g.add("RMSNormalization", {s.in[0], scale}, {{"axis", std::int64_t{-axes}}, {"epsilon", op.eps}});
  }
  Ints over;
  for (int i = -axes; i < 0; ++i) over.push_back(i);
  const Name mean = reduce(g, "ReduceMean", g.add("Mul", {s.in[0], s.in[0]}), over, true);
  const Name inverse =
      g.add("Reciprocal", {g.add("Sqrt", {g.add("Add", {mean, g.number(op.eps, s.dtype)})})});
  return affine(g, g.add("Mul", {s.in[0], inverse}), s.in[1], "");
}

// GroupNormalization with weights for each channel is there from opset 21 on; before, it is layer norm of the
// groups, then weight and bias.
Name group_norm(Graph& g, const GroupNorm& op, const Step& s) {
  const Shape& shape = s.y.shape();
  if (g.opset >= 21) {
    const auto given = [&](std::size_t i, double otherwise) {
      return s.in[i].empty() ? g.constant("channels", full({shape[1]}, otherwise, s.dtype)) : s.in[i];
    };
    const Name weight = given(1, 1), bias = given(2, 0);
    return g.add("GroupNormalization", {s.in[0], weight, bias},
                 {{"epsilon", op.eps}, {"num_groups", op.layout.groups}});
  }
  const std::int64_t length = op.layout.length;
  const Name parts = g.add("Reshape", {s.in[0], g.sizes(Ints{shape[0], op.layout.groups, length})});
  const Name normal = layer(g, parts, "", "", -1, op.eps, {length}, s.dtype);
  const auto by_channel = [&](std::size_t i) -> Name {
    if (s.in[i].empty() || shape.size() == 2) return s.in[i];
    Ints sizes{shape[1]};
    sizes.resize(static_cast<std::size_t>(shape.size() - 1), 1);
    return g.add("Reshape", {s.in[i], g.sizes(sizes)});
  };
  return affine(g, g.add("Reshape", {normal, g.sizes(shape)}), by_channel(1), by_channel(2));
}

// All operands in the dtype that Bobbin computes in.
std::vector<Name> batch_norm(Graph& g, const EvaluatedBatchNorm& op, const Call& call) {
  const Tensor& x = call.x[0];
  if (x.numel() == 0) return {};
  const DType type = compute_type(x.dtype());
  const auto wide = [&](std::size_t i) {
    return call.x[i].dtype() == type ? call.in[i] : g.cast(call.in[i], type);
  };
  const auto given = [&](std::size_t i, double otherwise) {
    return call.x[i] ? wide(i) : g.constant("channels", full({x.size(1)}, otherwise, type));
  };
  const Name y = g.add("BatchNormalization", {wide(0), given(3, 1), given(4, 0), wide(1), wide(2)},
                       {{"epsilon", op.eps}});
  return {type == x.dtype() ? y : g.cast(y, x.dtype())};
}

template<Operator T>
void add_norm(Rules& rules, Name (*rule)(Graph&, const T&, const Step&)) {
  add_rule<T>(rules, [rule](Graph& g, const T& op, const Step& s) {
    if (s.x[0].numel() == 0) fail<ValueError>("of no elements");
    return rule(g, op, s);
  });
  compute_in<T>(rules, DType::f32, {DType::f16, DType::bf16});  // as Bobbin's kernels do
}

}  // namespace

void add_norms(Rules& r) {
  add_norm<LayerNorm>(r, layer_norm);
  add_norm<RmsNorm>(r, rms_norm);
  add_norm<GroupNorm>(r, group_norm);
}

void add_batch_norm(CompositeRules& r) { add_rule<EvaluatedBatchNorm>(r, batch_norm); }

}  // namespace bobbin::onnx
