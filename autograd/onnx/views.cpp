// Rules of views, concatenation, padding and indexing; and the table of all rules.
#include "autograd/onnx/rules.h"
#include "ops/index/index.h"
#include "ops/view/concat.h"
#include "ops/view/pad.h"
#include "ops/view/view.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;

// In ONNX a size of 0 means the input's size; with allowzero it means 0.
Name reshape(Graph& g, const Reshape& op, const Step& s) {
  Attributes attributes;
  if (op.shape.contains(0)) attributes.push_back({"allowzero", std::int64_t{1}});
  return g.add("Reshape", {s.in[0], g.sizes(op.shape)}, attributes);
}

Name slice(Graph& g, const Slice& op, const Step& s) {
  const std::int64_t end = op.count > 0 ? op.start + (op.count - 1) * op.step + 1 : op.start;
  const Name y = g.add("Slice", {s.in[0], g.sizes(Ints{op.start}), g.sizes(Ints{end}), g.sizes(Ints{op.axis}),
                                 g.sizes(Ints{op.step})});
  if (op.cut) g.nodes.back().cut = s.x[0].size(op.axis);
  return y;
}

Name pad(Graph& g, const Pad& op, const Step& s) {
  Ints before, after;
  for (int i = 0; i < op.shape.size(); ++i) {
    if (op.steps[i] != 1) fail<ValueError>("with steps");
    before.push_back(op.starts[i]);
    after.push_back(op.shape[i] - op.starts[i] - s.x[0].shape()[i]);
  }
  if (before.empty()) return g.add("Identity", s.in);
  before.insert(before.end(), after.begin(), after.end());
  return g.add("Pad", {s.in[0], g.sizes(before), g.number(op.value, s.dtype)});
}

// Runtimes support OneHot for few dtypes, i64 among them, and not for scalars.
Name one_hot(Graph& g, const OneHot& op, const Step& s) {
  const bool scalar = s.x[0].rank() == 0;
  const Name index = scalar ? g.add("Reshape", {s.in[0], g.sizes(Ints{1})}) : s.in[0],
             off_on = g.constant("off_on", tensor({0, 1}, DType::i64));
  Name y = g.add("OneHot", {index, g.number(static_cast<double>(op.classes), DType::i64), off_on});
  if (op.dtype != DType::i64) y = g.cast(y, op.dtype);
  return scalar ? g.add("Reshape", {y, g.sizes(s.y.shape())}) : y;
}

// Rows of x at an index get rows of the source added: ScatterElements with the index of each element.
Name index_add(Graph& g, const IndexAdd& op, const Step& s) {
  Ints column(static_cast<std::size_t>(s.x[0].rank()), 1);
  column[static_cast<std::size_t>(op.axis)] = s.x[1].numel();
  const Name index = g.add("Expand", {g.add("Reshape", {s.in[1], g.sizes(column)}), g.sizes(s.x[2].shape())});
  return g.add("ScatterElements", {s.in[0], index, s.in[2]},
               {{"axis", std::int64_t{op.axis}}, {"reduction", Name("add")}});
}

}  // namespace

void add_views(Rules& r) {
  add_rule<Reshape>(r, reshape);
  add_rule<Permute>(r, [](Graph& g, const Permute& op, const Step& s) {
    if (op.order.empty()) return g.add("Identity", s.in);
    return g.add("Transpose", s.in, {{"perm", Ints(op.order.begin(), op.order.end())}});
  });
  add_rule<Slice>(r, slice);
  add_rule<Expand>(r, [](Graph& g, const Expand& op, const Step& s) {
    return g.add("Expand", {s.in[0], g.sizes(op.shape)});
  });
  add_rule<Concat>(r, [](Graph& g, const Concat& op, const Step& s) {
    return g.add("Concat", s.in, {{"axis", std::int64_t{op.axis}}});
  });
  add_rule<Pad>(r, pad);
  add_rule<IndexSelect>(r, [](Graph& g, const IndexSelect& op, const Step& s) {
    return g.add("Gather", s.in, {{"axis", std::int64_t{op.axis}}});
  });
  add_rule<Gather>(r, [](Graph& g, const Gather& op, const Step& s) {
    return g.add("GatherElements", s.in, {{"axis", std::int64_t{op.axis}}});
  });
  add_rule<ScatterAdd>(r, [](Graph& g, const ScatterAdd& op, const Step& s) {
    return g.add("ScatterElements", s.in,
                 {{"axis", std::int64_t{op.axis}}, {"reduction", std::string("add")}});
  });
  add_rule<IndexAdd>(r, index_add);
  compute_in<ScatterAdd>(r, DType::f32, {DType::f16, DType::bf16});
  compute_in<IndexAdd>(r, DType::f32, {DType::f16, DType::bf16});
  add_rule<OneHot>(r, one_hot);
}

const Rules& rules() {
  static const Rules all = [] {
    Rules r;
    add_elementwise(r);
    add_products(r);
    add_reductions(r);
    add_norms(r);
    add_views(r);
    return r;
  }();
  return all;
}

const CompositeRules& composite_rules() {
  static const CompositeRules all = [] {
    CompositeRules r;
    add_batch_norm(r);
    add_recurrent(r);
    return r;
  }();
  return all;
}

}  // namespace bobbin::onnx
