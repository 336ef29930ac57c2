// avg_pool2d and adaptive_avg_pool2d, with their CPU kernels.
#include "ops/pool/cpu.h"

namespace bobbin {
namespace {

// Calls f(i, at) for each window i of a plane and each of its elements `at` that is not padding, in
// row-major order.
template<class F>
void each_element(const PoolShape& s, F&& f) {
  for (int oy = 0, window = 0; oy < s.h.out; ++oy)
    for (int ox = 0; ox < s.w.out; ++ox, ++window)
      for (int r = std::max(0, s.h.begin(oy)); r < std::min(s.h.end(oy), s.h.in); ++r)
        for (int c = std::max(0, s.w.begin(ox)); c < std::min(s.w.end(ox), s.w.in); ++c)
          f(window, r * s.w.in + c);
}

// The divisor of each window's sum: the number of its elements, with padding.
template<class T>
std::vector<T> window_sizes(const PoolShape& s) {
  std::vector<T> out;
  for (int oy = 0; oy < s.h.out; ++oy)
    for (int ox = 0; ox < s.w.out; ++ox)
      out.push_back(static_cast<T>((s.h.end(oy) - s.h.begin(oy)) * (s.w.end(ox) - s.w.begin(ox))));
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
      each_element(s, [&](int window, int at) { sums[window] += static_cast<PoolCompute<T>>(from[at]); });
      for (std::size_t i = 0; i < counts.size(); ++i) sums[i] /= counts[i];
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
      each_element(s, [&](int window, int at) {
        sums[at] += static_cast<PoolCompute<T>>(g[window]) / counts[static_cast<std::size_t>(window)];
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
