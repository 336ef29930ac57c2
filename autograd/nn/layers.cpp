// The layers of layers.h: their constructors, and the calls that are longer than a line.
#include <bobbin/activation.h>
#include <bobbin/attention.h>
#include <bobbin/conv.h>
#include <bobbin/dropout.h>
#include <bobbin/index.h>
#include <bobbin/layers.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

#include <cmath>

namespace bobbin::nn {
namespace {

void require(std::string_view layer, std::initializer_list<std::int64_t> sizes) {
  for (const std::int64_t n : sizes)
    if (n < 1) fail<ValueError>(layer, ": expected sizes of at least 1; got ", n);
}

void require_probability(std::string_view layer, std::string_view name, double p) {
  if (!(p >= 0 && p < 1)) fail<ValueError>(layer, ": expected 0 <= ", name, " < 1; got ", p);
}

// The normalisations accept eps = 0, which is right for rows that are not constant.
void require_eps(std::string_view layer, double eps) {
  if (!(eps >= 0 && std::isfinite(eps))) fail<ValueError>(layer, ": expected a finite eps >= 0; got ", eps);
}

Tensor drawn(const Shape& shape, std::int64_t fan_in, DType dtype = DType::f32) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return uniform(shape, -bound, bound, dtype).set_requires_grad();
}

Tensor parameter(const Shape& shape, double value) { return full(shape, value).set_requires_grad(); }

std::int64_t per_group(std::string_view layer, std::int64_t in, std::int64_t out, std::int64_t groups) {
  require(layer, {in, out, groups});
  if (in % groups != 0 || out % groups != 0)
    fail<ValueError>(layer, ": ", in, " and ", out, " channels do not part into ", groups, " groups");
  return in / groups;
}

}  // namespace

Linear::Linear(std::int64_t in, std::int64_t out, bool with_bias, DType dtype) {
  require("Linear", {in, out});
  weight = drawn({out, in}, in, dtype);
  if (with_bias) bias = drawn({out}, in, dtype);
}

Conv2d::Conv2d(std::int64_t in, std::int64_t out, Pair kernel, const Conv2dOptions& o) : options(o) {
  const std::int64_t part = per_group("Conv2d", in, out, o.groups), fan = part * kernel.h * kernel.w;
  require("Conv2d", {kernel.h, kernel.w});
  weight = drawn({out, part, kernel.h, kernel.w}, fan);
  if (o.bias) bias = drawn({out}, fan);
}

Conv1d::Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv2dOptions& o) : options(o) {
  const std::int64_t part = per_group("Conv1d", in, out, o.groups);
  require("Conv1d", {kernel});
  weight = drawn({out, part, kernel}, part * kernel);
  if (o.bias) bias = drawn({out}, part * kernel);
}

BatchNorm::BatchNorm(std::int64_t channels, double m, double e) : momentum(m), eps(e) {
  require("BatchNorm", {channels});
  require_eps("BatchNorm", eps);
  if (!(momentum >= 0 && momentum <= 1))
    fail<ValueError>("BatchNorm: expected 0 <= momentum <= 1; got ", momentum);
  weight = parameter({channels}, 1);
  bias = parameter({channels}, 0);
  running_mean = zeros({channels});
  running_var = ones({channels});
}

void BatchNorm::each(Visit& v) {
  v("weight", weight), v("bias", bias);
  v.buffer("running_mean", running_mean), v.buffer("running_var", running_var);
  v.mode(training);
}

LayerNorm::LayerNorm(const Shape& sizes, double e)
    : over(sizes), weight(parameter(sizes, 1)), bias(parameter(sizes, 0)), eps(e) {
  require_eps("LayerNorm", eps);
}
RMSNorm::RMSNorm(const Shape& sizes, double e) : over(sizes), weight(parameter(sizes, 1)), eps(e) {
  require_eps("RMSNorm", eps);
}
GroupNorm::GroupNorm(std::int64_t parts, std::int64_t channels, double e)
    : groups(parts), weight(parameter({channels}, 1)), bias(parameter({channels}, 0)), eps(e) {
  per_group("GroupNorm", channels, channels, parts);
  require_eps("GroupNorm", eps);
}

Embedding::Embedding(std::int64_t count, std::int64_t size) {
  require("Embedding", {count, size});
  weight = randn({count, size}).set_requires_grad();
}
Tensor Embedding::operator()(const Tensor& indices) const { return embedding(weight, indices); }

Dropout::Dropout(double probability) : p(probability) { require_probability("Dropout", "p", p); }
Tensor Dropout::operator()(const Tensor& x) const { return bobbin::dropout(x, p, training); }

Tensor Flatten::operator()(const Tensor& x) const {
  if (x.rank() < 1) fail<ShapeError>("Flatten: expected [n, ...]; got ", x.spec());
  std::int64_t width = 1;  // not numel / n: an empty batch has a width, too
  for (int i = 1; i < x.rank(); ++i) width *= x.size(i);
  return reshape(x, {x.size(0), width});
}

MultiheadAttention::MultiheadAttention(std::int64_t size, std::int64_t n, double p)
    : in(size, 3 * size), out(size, size), heads(n), dropout(p) {
  require("MultiheadAttention", {n});
  require_probability("MultiheadAttention", "dropout", p);
  if (size % n != 0) fail<ValueError>("MultiheadAttention: size ", size, " does not part into ", n, " heads");
}

Tensor MultiheadAttention::operator()(const Tensor& x, bool causal) const {
  if (x.rank() != 3) fail<ShapeError>("MultiheadAttention: expected [n, length, size]; got ", x.spec());
  const std::int64_t n = x.size(0), length = x.size(1), size = x.size(2);
  const Tensor qkv = reshape(in(x), {n, length, 3, heads, size / heads});
  const auto part = [&](std::int64_t i) { return transpose(select(qkv, 2, i), 1, 2); };
  const Tensor y = scaled_dot_product_attention(part(0), part(1), part(2),
                                                {.causal = causal, .dropout = training ? dropout : 0});
  return out(reshape(transpose(y, 1, 2), {n, length, size}));
}

TransformerBlock::TransformerBlock(std::int64_t size, std::int64_t heads, double p)
    : norm1({size}),
      attention(size, heads, p),
      norm2({size}),
      up(size, 4 * size),
      down(4 * size, size),
      drop(p) {}

Tensor TransformerBlock::operator()(const Tensor& x, bool causal) const {
  const Tensor seen = x + drop(attention(norm1(x), causal));
  return seen + drop(down(up(norm2(seen), Activation::gelu)));
}

}  // namespace bobbin::nn
