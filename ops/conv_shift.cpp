#include "conv_shift.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "conv_frame.h"
#include "conv_parts.h"

namespace bobbin {
namespace {

// Sums of a weight's gradient that are held at a time.
constexpr int grad_rows = many_registers ? 6 : 4, grad_taps = many_registers ? 4 : 3;

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

template<class T>
Source<T> source(const ConvPart<T>& p, const Tensor& g, const Tensor& gate) {
  return {p.y(g), gate ? p.y(gate) : nullptr};
}

// Rows of weights, as many beside each other as sums take.
template<class T, class F>
std::vector<T> packed(std::int64_t rows, std::int64_t taps, F&& weight) {
  std::vector<T> out(static_cast<std::size_t>(rounded_up(rows, sum_rows) * taps));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < taps; ++k)
      out[static_cast<std::size_t>((r / sum_rows * taps + k) * sum_rows + r % sum_rows)] = weight(r, k);
  return out;
}

// What is done to sums as they are written: row by row of the result, a bias, where there is one; then relu.
template<class T>
struct Finish {
  const T* bias;
  bool relu = false;

  void operator()(const Frame& f, std::int64_t rows, const T* wide, std::int64_t pitch, T* y) const {
    for (std::int64_t r = 0; r < rows; ++r, wide += pitch) {
      const T b = bias ? bias[r] : T(0);
      const auto write = [&](auto function) {
        for (std::int64_t i = 0; i < f.rows; ++i, y += f.cols)
          map_row(f.cols, y, function, wide + i * f.pitch());
      };
      if (relu)
        write([b](auto v) { return v + b <= 0 ? decltype(v){} : v + b; });  // NaN stays
      else
        write([b](auto v) { return v + b; });
    }
  }
};

// All of one part's result, [rows, f.rows, f.cols], from its image. `frame` is 0 wherever no pixel belongs.
template<class T>
void convolve(const Frame& f, std::int64_t rows, const T* weights, const std::vector<std::int64_t>& offsets,
              const Source<T>& image, const Finish<T>& finish, T* frame, T* y) {
  const std::int64_t pitch = pitch_of_rows<T>(f);
  T* const wide = frame + size_of_frame<T>(f);
  fill_frame(f, image, frame);
  const std::int64_t registers = rounded_up(f.places(), register_lanes<T>) / register_lanes<T>;
  const std::int64_t parts = RegisterPart::fewest(registers);
  for (std::int64_t i = 0; i < parts; ++i) {
    const RegisterPart part(registers, parts, i);
    const std::int64_t first = part.first * register_lanes<T>;
    const auto taps = [from = frame + first, &offsets](std::int64_t k) {
      return from + offsets[static_cast<std::size_t>(k)];
    };
    for (std::int64_t r = 0; r < rows; r += sum_rows)
      sum_products(static_cast<int>(std::min<std::int64_t>(sum_rows, rows - r)), part.count,
                   Terms{f.taps(), weights + r * f.taps(), Constant<sum_rows>(), Constant<1>(), taps,
                         register_lanes<T>},
                   wide + r * pitch + first, pitch);
  }
  finish(f, rows, wide, pitch, y);
}

// Calls f(part, frame) for each part of the convolution, on several threads: with a frame, then space for
// `rows` rows of a result. A few images one after the other have the same frame, which is cleared once.
template<class T, class F>
void each_frame(const ConvShape& s, const Frame& f, std::int64_t rows, F&& call) {
  constexpr std::int64_t images = 4;
  const std::int64_t runs = (s.n + images - 1) / images, groups = s.options.groups,
                     size = size_of_frame<T>(f);
  parallel_for(runs * groups, [&](std::int64_t i) {
    const Tensor space = empty({size + rows * pitch_of_rows<T>(f)}, dtype_of<T>());
    T* const frame = static_cast<T*>(space.raw());
    std::fill_n(frame, size, T(0));
    for (std::int64_t n = i / groups * images; n < std::min(s.n, (i / groups + 1) * images); ++n)
      call(ConvPart<T>{s, n, i % groups}, frame);
  });
}

// Images side by side in memory, `step` apart: frames, and rows of gradients of the frames' pitch.
template<class T>
struct Gathered {
  std::int64_t images, step, places, pitch;
  const T *frame, *g;
};

// Adds to out[i][j] the sum over images and places of row i of g times tap j's row.
template<class T>
void correlate(const Gathered<T>& s, const std::int64_t* offsets, std::int64_t row,
               T out[grad_rows][grad_taps]) {
  using V = Register<T>;
  V sum[grad_rows][grad_taps] = {};
  for (std::int64_t n = 0; n < s.images; ++n) {
    const T *const frame = s.frame + n * s.step, *const g = s.g + n * s.step + row * s.pitch;
    for (std::int64_t p = 0; p < s.places; p += register_lanes<T>) {
      V x[grad_taps];
      for (int j = 0; j < grad_taps; ++j) x[j] = *reinterpret_cast<const V*>(frame + offsets[j] + p);
      for (int i = 0; i < grad_rows; ++i) {
        const V v = *reinterpret_cast<const V*>(g + i * s.pitch + p);
        for (int j = 0; j < grad_taps; ++j) sum[i][j] += v * x[j];
      }
    }
  }
  for (int i = 0; i < grad_rows; ++i)
    for (int j = 0; j < grad_taps; ++j) out[i][j] += sum_of_halves<register_lanes<T> / 2>(sum[i][j]);
}

// The sum of n elements that begin a row, of whole registers: what follows them there is 0.
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
void shift_forward(const ConvShape& s, const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu,
                   const Tensor& y) {
  const Frame f = frame_of_input(s);
  const auto offsets = f.offsets();
  std::vector<std::vector<T>> weights;
  for (std::int64_t g = 0; g < s.options.groups; ++g)
    weights.push_back(packed<T>(
        s.group_out(), f.taps(),
        [w = ConvPart<T>{s, 0, g}.weight(weight), &f](auto r, auto k) { return w[r * f.taps() + k]; }));
  each_frame<T>(s, f, s.group_out(), [&](const ConvPart<T>& p, T* frame) {
    convolve(f, s.group_out(), weights[static_cast<std::size_t>(p.g)].data(), offsets, {p.x(x)},
             {p.out_bias(bias), relu}, frame, p.y(y));
  });
}

// The convolution of g with the kernels turned round, input and output channels exchanged.
template<class T>
void shift_input_grad(const ConvShape& s, const Tensor& g, const Tensor& gate, const Tensor& weight,
                      const Tensor& bias, const Tensor& x) {
  const auto& [stride, padding, dilation, groups] = s.options;
  const Frame f{
      s.group_out(), s.oh,     s.ow,
      s.h,           s.w,      s.kh,
      s.kw,          dilation, {dilation.h * (s.kh - 1) - padding.h, dilation.w * (s.kw - 1) - padding.w}};
  const auto offsets = f.offsets();
  const std::int64_t kernel = s.kh * s.kw;
  std::vector<std::vector<T>> weights;
  for (std::int64_t group = 0; group < groups; ++group)
    weights.push_back(
        packed<T>(s.group_in(), f.taps(), [&, w = ConvPart<T>{s, 0, group}.weight(weight)](auto r, auto k) {
          return w[(k / kernel * s.group_in() + r) * kernel + kernel - 1 - k % kernel];
        }));
  each_frame<T>(s, f, s.group_in(), [&](const ConvPart<T>& p, T* frame) {
    convolve(f, s.group_in(), weights[static_cast<std::size_t>(p.g)].data(), offsets, source(p, g, gate),
             {p.in_bias(bias)}, frame, p.x(x));
  });
}

template<class T>
void shift_weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& gate,
                       const Tensor& weight, const Tensor& bias) {
  const Frame f = frame_of_input(s);
  auto offsets = f.offsets();
  const std::int64_t taps = f.taps(), rows = rounded_up(s.group_out(), grad_rows);
  offsets.resize(
      static_cast<std::size_t>(rounded_up(taps, grad_taps)));  // what is too much is left out below
  const std::int64_t pitch = pitch_of_rows<T>(f), all = size_of_frame<T>(f), step = all + rows * pitch;
  constexpr std::int64_t in_cache = 1 << 18;  // bytes
  const std::int64_t at_a_time =
      std::clamp<std::int64_t>(in_cache / (step * static_cast<std::int64_t>(sizeof(T))), 1, s.n);
  sum_weight_grads<T>(
      s, weight, bias, [&](std::int64_t first, std::int64_t last, std::int64_t group, T* out) {
        const Tensor space = zeros({at_a_time * step}, dtype_of<T>());
        T* const frames = static_cast<T*>(space.raw());
        T* const of_bias = out + s.group_out() * taps;
        for (std::int64_t n = first; n < last; n += at_a_time) {
          const Gathered<T> images{
              std::min(at_a_time, last - n), step, f.places(), pitch, frames, frames + all};
          for (std::int64_t i = 0; i < images.images; ++i) {
            const ConvPart<T> part{s, n + i, group};
            T *const frame = frames + i * step, *const wide = frame + all;
            fill_frame(f, {part.x(x)}, frame);
            widen(f, s.group_out(), source(part, g, gate), wide, pitch);
            for (std::int64_t r = 0; bias && r < s.group_out(); ++r)
              of_bias[r] += sum_of_row(wide + r * pitch, f.places());
          }
          for (std::int64_t r = 0; r < s.group_out(); r += grad_rows)
            for (std::int64_t k = 0; k < taps; k += grad_taps) {
              T sums[grad_rows][grad_taps] = {};
              correlate(images, offsets.data() + k, r, sums);
              for (std::int64_t i = 0; i < std::min<std::int64_t>(grad_rows, s.group_out() - r); ++i)
                for (std::int64_t j = 0; j < std::min<std::int64_t>(grad_taps, taps - k); ++j)
                  out[(r + i) * taps + k + j] += sums[i][j];
            }
        }
      });
}

template void shift_forward<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                   const Tensor&);
template void shift_forward<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                    const Tensor&);
template void shift_input_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                      const Tensor&, const Tensor&);
template void shift_input_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&, const Tensor&);
template void shift_weight_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&, const Tensor&);
template void shift_weight_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, const Tensor&);

}  // namespace bobbin
