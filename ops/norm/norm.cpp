#include "ops/norm/norm.h"

#include <bobbin/attention.h>
#include <bobbin/ops.h>

#include <cmath>
#include <limits>

#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/norm/batch_norm.h"
#include "ops/samples.h"

namespace bobbin {
namespace {

// f of x, and of what is there of the others, in f32 at least.
template<class F>
Tensor in_wide(const Tensor& x, F&& f) {
  if (x.dtype() == DType::f64 || x.dtype() == DType::f32) return f([](const Tensor& t) { return t; });
  return to(f([](const Tensor& t) { return t ? to(t, DType::f32) : t; }), x.dtype());
}

void require_like(std::string_view op, const Tensor& x, const Tensor& t, const Shape& shape,
                  std::string_view what) {
  if (!t) return;
  require_same_dtype(op, x, t);
  if (t.shape() != shape) fail<ShapeError>(op, ": expected ", what, " ", shape, "; got ", t.spec());
}

// The last axes of x, which must have these sizes.
Axes last_axes(std::string_view op, const Tensor& x, const Shape& over) {
  require_floating(op, x);
  const int first = x.rank() - over.size();
  Axes axes;
  for (int i = 0; i < over.size(); ++i) {
    if (first < 0 || x.shape()[first + i] != over[i])
      fail<ShapeError>(op, ": expected last axes ", over, "; got ", x.spec());
    axes.push_back(first + i);
  }
  return axes;
}

Tensor affine(Tensor y, const Tensor& weight, const Tensor& bias) {
  if (weight) y = y * weight;
  return bias ? y + bias : y;
}

Tensor standardized(const Tensor& x, const Axes& axes, double eps) {
  const Tensor centred = x - mean(x, axes, true);
  return centred * rsqrt(mean(square(centred), axes, true) + eps);
}

// [channels] as it broadcasts to x [n, channels, ...].
Tensor by_channel(const Tensor& t, const Tensor& x) {
  if (!t) return t;
  Shape shape{t.size(0)};
  for (int i = 2; i < x.rank(); ++i) shape.push_back(1);
  return reshape(t, shape);
}

Axes all_but_channels(const Tensor& x) {
  Axes axes{0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

void require_channels(std::string_view op, const Tensor& x) {
  require_floating(op, x);
  if (x.rank() < 2) fail<ShapeError>(op, ": expected x [n, channels, ...]; got ", x.spec());
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Shape& over, const Tensor& weight, const Tensor& bias, double eps) {
  const Axes axes = last_axes("layer_norm", x, over);
  require_like("layer_norm", x, weight, over, "a weight");
  require_like("layer_norm", x, bias, over, "a bias");
  return in_wide(
      x, [&](auto wide) { return affine(standardized(wide(x), axes, eps), wide(weight), wide(bias)); });
}

Tensor rms_norm(const Tensor& x, const Shape& over, const Tensor& weight, double eps) {
  const Axes axes = last_axes("rms_norm", x, over);
  require_like("rms_norm", x, weight, over, "a weight");
  return in_wide(x, [&](auto wide) {
    const Tensor t = wide(x);
    return affine(t * rsqrt(mean(square(t), axes, true) + eps), wide(weight), {});
  });
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr std::string_view op = "group_norm";
  require_channels(op, x);
  if (groups < 1 || x.size(1) % groups != 0)
    fail<ShapeError>(op, ": ", x.size(1), " channels do not part into ", groups, " groups");
  require_like(op, x, weight, {x.size(1)}, "a weight");
  require_like(op, x, bias, {x.size(1)}, "a bias");
  return in_wide(x, [&](auto wide) {
    const Tensor parts =
        reshape(wide(x), {x.size(0), groups, x.numel() / std::max<std::int64_t>(1, x.size(0) * groups)});
    return affine(reshape(standardized(parts, {2}, eps), x.shape()), by_channel(wide(weight), x),
                  by_channel(wide(bias), x));
  });
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, const BatchNormOptions& o) {
  constexpr std::string_view op = "batch_norm";
  require_channels(op, x);
  const Shape channels{x.size(1)};
  require_like(op, x, weight, channels, "a weight");
  require_like(op, x, bias, channels, "a bias");
  if (!running_mean || !running_var || running_mean.shape() != channels || running_var.shape() != channels)
    fail<ShapeError>(op, ": expected running statistics ", channels);
  if (o.training) {
    const std::int64_t count = x.numel() / std::max<std::int64_t>(1, x.size(1));
    if (count < 2) fail<ShapeError>(op, ": training wants more than one element a channel; got ", x.spec());
    // Kernels want the elements of a channel beside each other.
    if (x.rank() == 2)
      return contiguous(transpose(
          squeeze(batch_norm(unsqueeze(transpose(x), 0), running_mean, running_var, weight, bias, o), 0)));
    const Tensor moments = channel_moments(x);
    const auto follow = [&](Tensor running, std::int64_t row, double share) {
      const NoGrad quiet;
      const Tensor now = reshape(slice(moments, 0, row, row + 1), channels);
      running.copy_(running * (1 - o.momentum) + to(now, running.dtype()) * share);
    };
    follow(running_mean, 0, o.momentum);
    follow(running_var, 1, o.momentum * static_cast<double>(count) / static_cast<double>(count - 1));
    return record(BatchNorm{o.eps}, {x, moments, weight, bias});
  }
  return in_wide(x, [&](auto wide) {
    const Tensor t = wide(x);
    const auto along = [&](const Tensor& of) { return by_channel(to(of, t.dtype()), x); };
    Tensor scale = rsqrt(along(running_var) + o.eps);
    if (weight) scale = scale * along(weight);
    return affine((t - along(running_mean)) * scale, {}, bias ? along(bias) : bias);
  });
}

// Ioffe and Szegedy's formula: scale (g - mean(g) - xhat mean(g xhat)), where g has been multiplied by
// weight.
Grads BatchNorm::vjp(const Vjp& v) const {
  const Tensor x = v.input(0), weight = v.has_input(2) ? v.input(2) : Tensor();
  const DType type = compute_type(x.dtype());
  Grads out(4);
  if (!grad_enabled()) {
    const Tensor g = row_major(v.grad), rows = row_major(x), sums = empty({2, x.size(1)}, type, x.device());
    out[0] = empty(x.spec());
    const Cotangent given{g, rows, v.input(1), weight};
#if BOBBIN_HAS_CUDA
    if (x.device().is_cuda())
      backward_cuda(given, out[0], sums);
    else
#endif
      backward_cpu(given, out[0], sums);
    for (const int i : {2, 3})
      if (v.needs(i))
        out[static_cast<std::size_t>(i)] = to(reshape(slice(sums, 0, 3 - i, 4 - i), {x.size(1)}), x.dtype());
    return out;
  }
  const Axes axes = all_but_channels(x);
  const Tensor g = to(v.grad, type), wide = to(x, type), centred = wide - mean(wide, axes, true),
               scale = rsqrt(mean(square(centred), axes, true) + eps), normal = centred * scale,
               weighted = weight ? g * by_channel(to(weight, type), x) : g;
  if (v.needs(0))
    out[0] =
        to(scale * (weighted - mean(weighted, axes, true) - normal * mean(weighted * normal, axes, true)),
           x.dtype());
  if (v.needs(2)) out[2] = to(sum(g * normal, axes), x.dtype());
  if (v.needs(3)) out[3] = to(sum(g, axes), x.dtype());
  return out;
}

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& o) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  require_floating(op, query);
  if (query.rank() < 2 || key.rank() < 2 || value.rank() < 2 || query.size(-1) != key.size(-1) ||
      key.size(-2) != value.size(-2))
    fail<ShapeError>(op, ": expected query [..., l, d], key [..., s, d] and value [..., s, e]; got ",
                     query.spec(), ", ", key.spec(), " and ", value.spec());
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, query.size(-1))));
  Tensor logits = matmul(query * scale, transpose(key));
  const bool fused = o.mask && o.mask.dtype() == DType::boolean;
  if (o.mask && !fused) logits = logits + o.mask;
  Tensor weights =
      fused || o.causal ? masked_softmax(logits, fused ? o.mask : Tensor(), o.causal) : softmax(logits);
  if (o.dropout > 0) weights = dropout(weights, o.dropout);
  return matmul(weights, value);
}

std::vector<Sample> layer_norm_samples() {
  const auto over_last = [](Inputs x) { return layer_norm(x[0], {x[0].size(-1)}, x[1], x[2]); };
  return {batch({"last axis", {sample_input({3, 5}), sample_input({5}), sample_input({5})}, over_last}),
          {"two axes",
           {sample_input({2, 3, 2}), sample_input({3, 2})},
           [](Inputs x) {
             return layer_norm(x[0], {3, 2}, x[1]);
           }},
          {"no rows", {sample_input({0, 4}), sample_input({4}), sample_input({4})}, over_last},
          invalid(
              "shape", {sample_input({2, 3})}, [](Inputs x) { return layer_norm(x[0], {4}); },
              "layer_norm: expected last axes [4]; got f64[2,3]"),
          invalid("weight", {sample_input({2, 3}), sample_input({2}), sample_input({3})}, over_last,
                  "layer_norm: expected a weight [3]; got f64[2]")};
}

std::vector<Sample> rms_norm_samples() {
  const auto over_last = [](Inputs x) { return rms_norm(x[0], {x[0].size(-1)}, x[1]); };
  return {batch({"last axis", {sample_input({3, 5}), sample_input({5})}, over_last}),
          {"no rows", {sample_input({0, 4}), sample_input({4})}, over_last},
          invalid(
              "shape", {sample_input({2, 3})}, [](Inputs x) { return rms_norm(x[0], {4}); },
              "rms_norm: expected last axes [4]; got f64[2,3]")};
}

std::vector<Sample> group_norm_samples() {
  const auto in = [](std::int64_t groups) {
    return [groups](Inputs x) { return group_norm(x[0], groups, x[1], x[2]); };
  };
  return {batch({"two groups", {sample_input({2, 4, 3}), sample_input({4}), sample_input({4})}, in(2)}),
          {"images", {sample_input({1, 4, 2, 2}), sample_input({4}), sample_input({4})}, in(4)},
          {"no images", {sample_input({0, 4, 2}), sample_input({4}), sample_input({4})}, in(2)},
          invalid("groups", {sample_input({2, 4}), sample_input({4}), sample_input({4})}, in(3),
                  "group_norm: 4 channels do not part into 3 groups")};
}

std::vector<Sample> BatchNorm::samples() {
  const auto call = [](bool training) {
    return [training](Inputs x) {
      const std::int64_t c = x[0].size(1);
      // Statistics of its own a call: training moves them.
      return batch_norm(x[0], full({c}, 0.25, x[0].dtype(), x[0].device()),
                        full({c}, 2, x[0].dtype(), x[0].device()), x[1], x[2], {.training = training});
    };
  };
  return {
      {"training", {sample_input({4, 3}), sample_input({3}), sample_input({3})}, call(true)},
      {"training on images", {sample_input({2, 2, 2, 3}), sample_input({2}), sample_input({2})}, call(true)},
      batch({"by running statistics",
             {sample_input({3, 2, 2}), sample_input({2}), sample_input({2})},
             call(false)}),
      {"no images", {sample_input({0, 2, 3}), sample_input({2}), sample_input({2})}, call(false)},
      invalid("one element", {sample_input({1, 2}), sample_input({2}), sample_input({2})}, call(true),
              "batch_norm: training wants more than one element a channel; got f64[1,2]")};
}

std::vector<Sample> attention_samples() {
  const auto with = [](bool causal) {
    return [causal](Inputs x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.causal = causal}); };
  };
  return {batch({"two heads",
                 {sample_input({2, 3, 4}), sample_input({2, 5, 4}), sample_input({2, 5, 2})},
                 with(false)}),
          {"causal", {sample_input({4, 3}), sample_input({4, 3}), sample_input({4, 2})}, with(true)},
          {"masks",
           {sample_input({2, 3}), sample_input({3, 3}), sample_input({3, 2}), sample_input({2, 3})},
           [](Inputs x) {
             const Tensor some = tensor({{1, 0, 1}, {1, 1, 0}}, DType::boolean);
             return scaled_dot_product_attention(x[0], x[1], x[2], {.mask = to(some, x[0].device())}) +
                    scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3]});
           }},
          {"nothing to ask", {sample_input({0, 3}), sample_input({4, 3}), sample_input({4, 2})}, with(false)},
          invalid("sizes", {sample_input({2, 3}), sample_input({4, 2}), sample_input({4, 2})}, with(false),
                  "scaled_dot_product_attention: expected query [..., l, d], key [..., s, d] and value [..., "
                  "s, e]; got "
                  "f64[2,3], f64[4,2] and f64[4,2]")};
}

}  // namespace bobbin
