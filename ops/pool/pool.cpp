// The checks that all poolings share.
#include "ops/pool/pool.h"

#include <limits>

#include "ops/check.h"

namespace bobbin {

PoolShape Pool::shape(std::string_view op, const Shape& x) const {
  if (x.size() != 4) fail<ShapeError>(op, ": expected images [n, channels, h, w]; got ", x);
  const auto fits = [](std::int64_t n) { return n >= 1 && n <= 1 << 20; };
  if (!fits(window.h) || !fits(window.w) || !fits(stride.h) || !fits(stride.w) || padding.h < 0 ||
      padding.w < 0 || padding.h > window.h / 2 || padding.w > window.w / 2)
    fail<ValueError>(op,
                     ": expected windows and strides of at least 1, and a padding of at most half a window");
  const auto axis = [&](std::int64_t in, std::int64_t size, std::int64_t step,
                        std::int64_t pad) -> WindowAxis {
    const std::int64_t out = adaptive ? size : (in + 2 * pad - size) / step + 1;
    if (in > 1 << 20 || (adaptive ? in < 1 : in + 2 * pad < size))
      fail<ShapeError>(op, ": windows of ", window.h, " x ", window.w, " do not fit images ", x);
    return {static_cast<int>(in),   static_cast<int>(out), static_cast<int>(size),
            static_cast<int>(step), static_cast<int>(pad), adaptive};
  };
  const WindowAxis h = axis(x[2], window.h, stride.h, padding.h),
                   w = axis(x[3], window.w, stride.w, padding.w);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (x[2] * x[3] > most || std::int64_t{h.out} * w.out > most)
    fail<ShapeError>(op, ": images of 2^31 elements or more are not pooled; got ", x);
  return {x[0] * x[1], h, w, x, {x[0], x[1], h.out, w.out}};
}

TensorSpec Pool::infer_forward(std::string_view op, const Tensor& x) const {
  require_floating(op, x);
  return {shape(op, x.shape()).y, x.dtype(), x.device()};
}

TensorSpec Pool::infer_backward(std::string_view op, Pair size, const Tensor& g) const {
  require_floating(op, g);
  if (g.rank() != 4) fail<ShapeError>(op, ": expected g [n, channels, oh, ow]; got ", g.spec());
  const PoolShape s = shape(op, {g.size(0), g.size(1), size.h, size.w});
  if (g.shape() != s.y) fail<ShapeError>(op, ": expected g ", s.y, "; got ", g.spec());
  return {s.x, g.dtype(), g.device()};
}

}  // namespace bobbin
