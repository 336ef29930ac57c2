// avg_pool2d and adaptive_avg_pool2d, with their CPU kernels.
#include "ops/pool/cpu.h"

namespace bobbin {
namespace {

// The elements of a window that are not padding: rows [top, bottom), columns [left, right).
struct Window {
  int top, bottom, left, right;
};

// Calls f(i, Window) for each window i of a plane, in row-major order.
template<class F>
void each_window(const PoolShape& s, F&& f) {
  for (int oy = 0, i = 0; oy < s.h.out; ++oy)
    for (int ox = 0; ox < s.w.out; ++ox, ++i)
      f(i, Window{std::max(0, s.h.begin(oy)), std::min(s.h.end(oy), s.h.in), std::max(0, s.w.begin(ox)),
                  std::min(s.w.end(ox), s.w.in)});
}

// The divisor of each window's sum: the number of its elements, with padding.
template<class T>
std::vector<T> window_sizes(const PoolShape& s) {
  std::vector<T> out;
  for (int oy = 0; oy < s.h.out; ++oy)
    for (int ox = 0; ox < s.w.out; ++ox)
      out.push_back(
          static_cast<T>(std::int64_t{s.h.end(oy) - s.h.begin(oy)} * (s.w.end(ox) - s.w.begin(ox))));
  return out;
}

}  // namespace

TensorSpec AvgPool2d::infer(Inputs x) const { return infer_forward(name, x[0]); }
void AvgPool2d::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, x[0].shape());
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto counts = window_sizes<PoolCompute<T>>(s);
    sum_planes<T>(y, [&](std::int64_t plane, PoolCompute<T>* sums) {
      const T* const from = x[0].raw<T>() + plane * s.h.in * s.w.in;
      each_window(s, [&](int i, const Window& w) {
        double sum = 0;
        for (int r = w.top; r < w.bottom; ++r)
          for (int c = w.left; c < w.right; ++c) sum += static_cast<double>(from[r * s.w.in + c]);
        sums[i] = static_cast<PoolCompute<T>>(sum / static_cast<double>(counts[static_cast<std::size_t>(i)]));
      });
    });
  });
}
Grads AvgPool2d::vjp(const Vjp& v) const {
  return {record(AvgPool2dBackward{*this, Pair(v.spec(0).shape[2], v.spec(0).shape[3])}, {v.grad})};
}

TensorSpec AvgPool2dBackward::infer(Inputs x) const { return infer_backward(name, size, x[0]); }
void AvgPool2dBackward::cpu(Inputs x, Tensor& y) const {
  const PoolShape s = shape(name, y.shape());
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto counts = window_sizes<PoolCompute<T>>(s);
    sum_planes<T>(y, [&](std::int64_t plane, PoolCompute<T>* sums) {
      const T* const g = x[0].raw<T>() + plane * static_cast<std::int64_t>(counts.size());
      each_window(s, [&](int i, const Window& w) {
        const PoolCompute<T> share = static_cast<PoolCompute<T>>(g[i]) / counts[static_cast<std::size_t>(i)];
        for (int r = w.top; r < w.bottom; ++r)
          for (int c = w.left; c < w.right; ++c) sums[r * s.w.in + c] += share;
      });
    });
  });
}
Grads AvgPool2dBackward::vjp(const Vjp& v) const { return {record(AvgPool2d{*this}, {v.grad})}; }

Tensor avg_pool2d(const Tensor& x, Pair window, const PoolOptions& o) {
  return record(AvgPool2d{{window, o.stride.value_or(window), o.padding}}, {x});
}
Tensor adaptive_avg_pool2d(const Tensor& x, Pair size) { return record(AvgPool2d{{size, 1, 0, true}}, {x}); }

}  // namespace bobbin
