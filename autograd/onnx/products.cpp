// Rules of matrix products, convolutions and pooling.
#include "autograd/onnx/rules.h"
#include "ops/conv/conv.h"
#include "ops/matmul/linear.h"
#include "ops/matmul/matmul.h"
#include "ops/pool/pool.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;

Name activated(Graph& g, const Name& x, Activation activation, DType d) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return g.add("Relu", {x});
    case Activation::tanh:
      return g.add("Tanh", {x});
    case Activation::sigmoid:
      return g.add("Sigmoid", {x});
    case Activation::gelu:
      return gelu(g, x, d);
    case Activation::silu:
      break;
  }
  return silu(g, x);
}

Name linear(Graph& g, const Linear& op, const Step& s) {
  Name y;
  if (s.x[0].rank() == 2) {
    auto in = s.in;
    if (in[2].empty()) in.pop_back();
    y = g.add("Gemm", in, {{"transB", std::int64_t{1}}});
  } else {
    y = g.add("MatMul", {s.in[0], g.add("Transpose", {s.in[1]}, {{"perm", Ints{1, 0}}})});
    if (!s.in[2].empty()) y = g.add("Add", {y, s.in[2]});
  }
  return activated(g, y, op.activation, s.dtype);
}

Ints both(Pair p) { return {p.h, p.w}; }
Ints around(Pair p) { return {p.h, p.w, p.h, p.w}; }

Attributes conv_attributes(const ConvOptions& o, const Tensor& weight) {
  return {{"dilations", both(o.dilation)},
          {"group", o.groups},
          {"kernel_shape", both({weight.size(2), weight.size(3)})},
          {"pads", around(o.padding)},
          {"strides", both(o.stride)}};
}

// If the stride of the forward convolution skips rows or columns at the end, they need output padding.
Name conv_transpose(Graph& g, const Conv2dInputGrad& op, const Step& s) {
  const auto& o = op.options;
  const auto rest = [](std::int64_t size, std::int64_t in, std::int64_t k, std::int64_t stride,
                       std::int64_t padding, std::int64_t dilation) {
    return size - ((in - 1) * stride - 2 * padding + dilation * (k - 1) + 1);
  };
  Attributes attributes = conv_attributes(o, s.x[1]);
  attributes.push_back(
      {"output_padding",
       both({rest(op.size.h, s.x[0].size(2), s.x[1].size(2), o.stride.h, o.padding.h, o.dilation.h),
             rest(op.size.w, s.x[0].size(3), s.x[1].size(3), o.stride.w, o.padding.w, o.dilation.w)})});
  return g.add("ConvTranspose", s.in, attributes);
}

Attributes pool_attributes(const Pool& p) {
  return {{"kernel_shape", both(p.window)}, {"pads", around(p.padding)}, {"strides", both(p.stride)}};
}

// The matrix whose product with a vector gives the mean of each window; or its transpose, for products from
// the right.
Name means(Graph& g, const WindowAxis& w, DType d, bool transposed) {
  std::vector<double> m(static_cast<std::size_t>(w.in) * static_cast<std::size_t>(w.out));
  for (int i = 0; i < w.out; ++i)
    for (int j = w.begin(i); j < w.end(i); ++j)
      m[static_cast<std::size_t>(transposed ? j * w.out + i : i * w.in + j)] = 1.0 / (w.end(i) - w.begin(i));
  const Shape shape = transposed ? Shape{w.in, w.out} : Shape{w.out, w.in};
  Tensor t = empty(shape, d);
  t.copy_(from_range(m, shape));
  return g.constant("windows", t);
}

// ONNX has no adaptive pooling. If all windows have one size it is ordinary pooling, else two matrix
// products.
Name avg_pool(Graph& g, const AvgPool2d& op, const Step& s) {
  const PoolShape p = op.shape("avg_pool2d", s.x[0].shape());
  if (!op.adaptive || (p.h.in % p.h.out == 0 && p.w.in % p.w.out == 0)) {
    Pool plain = op;
    if (op.adaptive) {
      plain.window = plain.stride = Pair(p.h.in / p.h.out, p.w.in / p.w.out);
      plain.padding = 0;
    }
    Attributes attributes = pool_attributes(plain);
    attributes.push_back({"count_include_pad", std::int64_t{1}});
    return g.add("AveragePool", s.in, attributes);
  }
  const Name rows = g.add("MatMul", {means(g, p.h, s.dtype, false), s.in[0]});
  return g.add("MatMul", {rows, means(g, p.w, s.dtype, true)});
}

}  // namespace

void add_products(Rules& r) {
  add_rule<Matmul>(r, "MatMul");
  add_rule<Linear>(r, linear);
  add_rule<Conv2d>(r, [](Graph& g, const Conv2d& op, const Step& s) {
    return activated(g, g.add("Conv", s.in, conv_attributes(op.options, s.x[1])), op.activation, s.dtype);
  });
  add_rule<Conv2dInputGrad>(r, conv_transpose);
  add_rule<MaxPool2d>(r, [](Graph& g, const MaxPool2d& op, const Step& s) {
    return g.add("MaxPool", s.in, pool_attributes(op));
  });
  add_rule<AvgPool2d>(r, avg_pool);
  compute_in<Conv2d>(r, DType::f32, {DType::bf16});
  compute_in<Conv2dInputGrad>(r, DType::f32, {DType::bf16});
  compute_in<MaxPool2d>(r, DType::f32, {DType::bf16});
  compute_in<AvgPool2d>(r, DType::f32, {DType::bf16});
  cast_to_result<Matmul>(r);
  cast_to_result<Linear>(r);
  cast_to_result<Conv2d>(r);
  cast_to_result<Conv2dInputGrad>(r);
}

}  // namespace bobbin::onnx
