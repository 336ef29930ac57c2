#include <algorithm>
#include <utility>
#include <vector>

#include "core/ceil_div.h"
#include "ops/conv/frame.h"
#include "ops/conv/parts.h"
#include "ops/conv/shift.h"
#include "ops/cpu/vectors.h"

namespace bobbin {
namespace {

// Sums of a weight's gradient that are held at a time.
constexpr int grad_rows = many_registers ? 6 : 4, grad_taps = many_registers ? 4 : 3;
// The same, and what else is in the registers that they are added up in.
template<class T>
constexpr std::int64_t grad_sums = rounded_up(grad_rows* grad_taps, register_lanes<T>);

// The sum of all lanes, two by two.
template<std::size_t width, class V>
auto sum_of_halves(const V& v) {
  if constexpr (width == 0)
    return v[0];
  else
    return sum_of_halves<width / 2>(v + [&]<std::size_t... i>(std::index_sequence<i...>) {
      return __builtin_shufflevector(v, v, ((i + width) % sizeof...(i))...);
    }(std::make_index_sequence<sizeof(V) / sizeof(v[0])>()));
}

// Images side by side in memory, `step` apart: frames, and gradients of what comes out of them.
template<class T>
struct Gathered {
  std::int64_t images, step;
  const T *frame, *g;
};

// out[i * grad_taps + j] = the sum over images and places of channel i of g times tap j's row.
template<class T>
void correlate(const Frame& f, const Gathered<T>& images, const std::int64_t* offsets, std::int64_t channel,
               T* out) {
  using V = Register<T>;
  const Strips s = strips<T>(f);
  const std::int64_t pitch = channel_step<T>(f), length = s.registers * register_lanes<T>;
  V sum[grad_sums<T>] = {};
  for (std::int64_t n = 0; n < images.images; ++n)
    for (std::int64_t k = 0; k < s.count; ++k) {
      const T *const frame = images.frame + n * images.step + k * s.in_frame, *const g = images.g +
                                                                                         n * images.step +
                                                                                         channel * pitch +
                                                                                         k * s.in_result;
      for (std::int64_t p = 0, at = 0; p < length; p += register_lanes<T>, at += s.gap) {
        V x[grad_taps];
        for (int j = 0; j < grad_taps; ++j) x[j] = *reinterpret_cast<const V*>(frame + offsets[j] + at);
        for (int i = 0; i < grad_rows; ++i) {
          const V v = *reinterpret_cast<const V*>(g + i * pitch + p);
          for (int j = 0; j < grad_taps; ++j) sum[i * grad_taps + j] += v * x[j];
        }
      }
    }
#pragma GCC unroll 8
  for (std::int64_t k = 0; k < grad_sums<T>; k += register_lanes<T>) {
    V some[register_lanes<T>];
#pragma GCC unroll 16
    for (std::int64_t i = 0; i < register_lanes<T>; ++i) some[i] = sum[k + i];
    *reinterpret_cast<V*>(out + k) =
        simd::reduce_registers(some, [](const V& a, const V& b) { return a + b; });
  }
}

// The sum of n elements, and of what fills the last register: that is 0.
template<class T>
T sum_of_row(const T* row, std::int64_t n) {
  using V = Register<T>;
  V sum[4] = {};
  const V* const x = reinterpret_cast<const V*>(row);
  const std::int64_t registers = rounded_up(n, register_lanes<T>) / register_lanes<T>;
  std::int64_t i = 0;
  for (; i + 4 <= registers; i += 4)
    for (int k = 0; k < 4; ++k) sum[k] += x[i + k];
  for (; i < registers; ++i) sum[0] += x[i];
  return sum_of_halves<register_lanes<T> / 2>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

}  // namespace

template<class T>
void shift_weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& gate,
                       const Tensor& weight, const Tensor& bias) {
  const Frame f = frame_of_input(s);
  auto offsets = f.offsets();
  const std::int64_t taps = f.taps(), channels = s.group_out(), pitch = channel_step<T>(f),
                     all = size_of_frame<T>(f), step = all + rounded_up(channels, grad_rows) * pitch;
  offsets.resize(
      static_cast<std::size_t>(rounded_up(taps, grad_taps)));  // what is too much is left out below
  // As many as L1 holds of what a row of sums goes through, and L2 of all, in alike numbers.
  constexpr std::int64_t in_near = 26 << 10, in_cache = 400 << 10;  // bytes
  const std::int64_t run_length = std::max<std::int64_t>(1, ceil_div(s.n, weight_grad_runs)),
                     size = static_cast<std::int64_t>(sizeof(T)),
                     most = std::clamp<std::int64_t>(
                         std::min(in_cache / (step * size),
                                  in_near / ((grad_rows * pitch + f.plane()) * size)),
                         1, run_length),
                     times = ceil_div(run_length, most), at_a_time = ceil_div(run_length, times);
  const auto run = [&](std::int64_t first, std::int64_t last, std::int64_t group, T* out) {
    const Tensor space = empty({at_a_time * step}, dtype_of<T>());
    T* const frames = space.raw<T>();
    for (std::int64_t i = 0; i < at_a_time; ++i) {
      std::fill_n(frames + i * step, all, T(0));
      clear_gaps(f, channels, frames + i * step + all);
    }
    T* const of_bias = out + channels * taps;
    for (std::int64_t n = first; n < last; n += at_a_time) {
      const Gathered<T> images{std::min(at_a_time, last - n), step, frames, frames + all};
      for (std::int64_t i = 0; i < images.images; ++i) {
        const ConvPart<T> part{s, n + i, group};
        T *const frame = frames + i * step, *const wide = frame + all;
        fill_frame(f, {part.x(x)}, frame);
        widen(f, channels, source(part, g, gate), wide);
        for (std::int64_t c = 0; bias && c < channels; ++c)
          of_bias[c] += sum_of_row(wide + c * pitch, f.rows * row_step<T>(f));
      }
      for (std::int64_t c = 0; c < channels; c += grad_rows)
        for (std::int64_t k = 0; k < taps; k += grad_taps) {
          T sums[grad_sums<T>];
          correlate(f, images, offsets.data() + k, c, sums);
          for (std::int64_t i = 0; i < std::min<std::int64_t>(grad_rows, channels - c); ++i)
            for (std::int64_t j = 0; j < std::min<std::int64_t>(grad_taps, taps - k); ++j)
              out[(c + i) * taps + k + j] += sums[i * grad_taps + j];
        }
    }
  };
  sum_weight_grads<T>(s, weight, bias, run);
}

template void shift_weight_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&, const Tensor&);
template void shift_weight_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, const Tensor&);

}  // namespace bobbin
