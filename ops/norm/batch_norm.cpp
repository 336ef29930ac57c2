// Batch normalisation: the public function, and the operation that it records while training, with its
// derivatives of any order.
#include "ops/norm/batch_norm.h"

#include <bobbin/elementwise.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>

#include "core/recompute.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/norm/normalize.h"
#include "ops/promote.h"

namespace bobbin {
namespace {

Axes all_but_channels(const Tensor& x) {
  Axes axes{0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

// running = (1 - momentum) running + momentum * correction * (row `which` of moments), rounded once.
void follow(Tensor running, const Tensor& moments, std::int64_t which, double momentum, double correction) {
  const NoGrad quiet;
  const Tensor now = reshape(slice(moments, 0, which, which + 1), running.shape());
  const DType type = running.dtype() == DType::f64 ? DType::f64 : now.dtype();
  running.copy_(to(running, type) * (1 - momentum) + to(now, type) * (momentum * correction));
}

}  // namespace

ChannelMoments channel_moments(const Tensor& x, double eps) {
  const DType type = compute_type(x.dtype());
  const ChannelMoments out{empty({2, x.size(1)}, type, x.device()), empty({x.size(1), 4}, type, x.device())};
  if constexpr (built_with_cuda)
    if (x.device().is_cuda()) {
      cuda::channel_moments(row_major(x), eps, out);
      return out;
    }
  cpu_channel_moments(row_major(x, type), eps, out);
  return out;
}

TensorSpec BatchNorm::infer(Inputs x) const { return x[0].spec(); }

// Ioffe and Szegedy's formula: (h - mean(h) - n mean(h n)) / deviation, where n is the normalised x, and h
// the cotangent times weight. A channel is scaled as the kernels have scaled it: n does not depend on that,
// but squares and products of its elements then stay in range.
Grads BatchNorm::vjp(const Vjp& v) const {
  const Tensor &x = v.input(0), weight = v.has_input(2) ? v.input(2) : Tensor();
  const DType type = compute_type(x.dtype());
  Grads out(4);
  const Axes axes = all_but_channels(x);
  const auto of_channel = [&](std::int64_t i) {
    return by_channel(reshape(slice(v.input(1), 1, i, i + 1), {x.size(1)}), x);
  };
  const Tensor g = to(v.grad, type), unit = of_channel(3), near = to(x, type) * unit - of_channel(0),
               centred = near - mean(near, axes, true),
               scale = rsqrt(mean(square(centred), axes, true) + square(unit * std::sqrt(eps))),
               normal = centred * scale, h = weight ? g * by_channel(to(weight, type), x) : g;
  if (v.needs(0))
    out[0] = to((h - mean(h, axes, true) - normal * mean(h * normal, axes, true)) * scale * unit, x.dtype());
  if (v.needs(2)) out[2] = to(sum(g * normal, axes), x.dtype());
  if (v.needs(3)) out[3] = to(sum(g, axes), x.dtype());
  return out;
}

BatchNormBackward::BatchNormBackward(const Vjp& v)
    : g(row_major(v.grad)),
      x(row_major(v.input(0))),
      statistics(v.input(1)),
      weight(v.has_input(2) ? v.input(2) : Tensor()),
      sums(empty({4, x.size(1)}, compute_type(x.dtype()), x.device())),
      x_grad(empty(x.spec())) {}

Grads BatchNormBackward::grads(const Vjp& v) const {
  Grads out(4);
  out[0] = x_grad;
  for (const int i : {2, 3})
    if (v.needs(i))
      out[static_cast<std::size_t>(i)] =
          to(reshape(slice(sums, 0, 3 - i, 4 - i), {sums.size(1)}), x_grad.dtype());
  return out;
}

Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, const BatchNormOptions& o) {
  const Tensor x = in_f32(input);
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
    // Kernels are faster if the elements of a channel are contiguous.
    if (x.rank() == 2)
      return contiguous(transpose(
          squeeze(batch_norm(unsqueeze(transpose(x), 0), running_mean, running_var, weight, bias, o), 0)));
    const ChannelMoments moments = channel_moments(x, o.eps);
    if (!detail::recomputing()) {
      const double n = static_cast<double>(count);
      follow(running_mean, moments.running, 0, o.momentum, 1);
      follow(running_var, moments.running, 1, o.momentum, n / (n - 1));
    }
    return record(BatchNorm{o.eps}, {x, moments.statistics, weight, bias});
  }
  const Tensor y = in_wide(x, [&](auto wide) {
    const Tensor t = wide(x);
    const auto along = [&](const Tensor& of) { return by_channel(to(of, t.dtype()), x); };
    Tensor scale = rsqrt(along(running_var) + o.eps);
    if (weight) scale = scale * along(weight);
    return affine((t - along(running_mean)) * scale, {}, bias ? along(bias) : bias);
  });
  const Tensor in[] = {x, running_mean, running_var, weight, bias};
  detail::composed(EvaluatedBatchNorm(o.eps), in, {&y, 1});
  return y;
}

}  // namespace bobbin
