#include "conv_shift.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "conv_parts.h"
#include "registers.h"

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

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// A group of channels of an image with its padding, as a convolution reads it: `pitch` elements a row.
struct Frame {
  std::int64_t channels, h, w;  // of the image
  std::int64_t rows, cols;      // of the result
  std::int64_t kh, kw;
  Pair dilation, padding;  // the padding may be negative

  std::int64_t pitch() const { return cols + dilation.w * (kw - 1); }
  std::int64_t height() const { return rows + dilation.h * (kh - 1); }
  std::int64_t plane() const { return pitch() * height(); }
  std::int64_t taps() const { return channels * kh * kw; }
  std::int64_t places() const { return rows * pitch(); }

  // Where the row of each tap begins.
  std::vector<std::int64_t> offsets() const {
    std::vector<std::int64_t> out;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t ky = 0; ky < kh; ++ky)
        for (std::int64_t kx = 0; kx < kw; ++kx)
          out.push_back(c * plane() + ky * dilation.h * pitch() + kx * dilation.w);
    return out;
  }
};

// From row to row of a result: an odd number of vectors, as powers of two would share places in a cache.
template<class T>
std::int64_t pitch_of_rows(const Frame& f) {
  return rounded_up(f.places(), register_lanes<T>) | register_lanes<T>;
}

// Space for a frame, and zeros behind it for the last vector to read. What follows is aligned to vectors.
template<class T>
std::int64_t size_of_frame(const Frame& f) {
  return rounded_up(f.channels * f.plane() + register_lanes<T> + f.pitch(), register_lanes<T>);
}

template<class T>
void fill_frame(const Frame& f, const T* image, T* frame) {
  T* const end = frame + size_of_frame<T>(f);
  const std::int64_t left = std::max<std::int64_t>(0, f.padding.w), pitch = f.pitch(),
                     from_left = std::max<std::int64_t>(0, -f.padding.w),
                     across = std::min(f.w - from_left, pitch - left);
  for (std::int64_t c = 0; c < f.channels; ++c)
    for (std::int64_t r = 0; r < f.height(); ++r, frame += pitch) {
      const std::int64_t row = r - f.padding.h;
      if (row < 0 || row >= f.h || across <= 0) {
        std::fill_n(frame, pitch, T(0));
        continue;
      }
      for (std::int64_t i = 0; i < left; ++i) frame[i] = 0;
      copy_row(image + (c * f.h + row) * f.w + from_left, across, frame + left);
      for (std::int64_t i = left + across; i < pitch; ++i) frame[i] = 0;
    }
  std::fill(frame, end, T(0));
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

// All of one part's result, [rows, f.rows, f.cols], from its image.
template<class T>
void convolve(const Frame& f, std::int64_t rows, const T* weights, const std::vector<std::int64_t>& offsets,
              const T* image, T* y) {
  const std::int64_t pitch = pitch_of_rows<T>(f), all = size_of_frame<T>(f);
  const Tensor space = empty({all + rows * pitch}, dtype_of<T>());
  T *const frame = static_cast<T*>(space.raw()), *const wide = frame + all;
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
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < f.rows; ++i, y += f.cols)
      copy_row(wide + r * pitch + i * f.pitch(), f.cols, y);
}

// Rows of a result, [rows, f.rows, f.cols], at the frame's pitch, zeros between them.
template<class T>
void widen(const Frame& f, std::int64_t rows, const T* from, T* to, std::int64_t pitch) {
  for (std::int64_t r = 0; r < rows; ++r, to += pitch) {
    T* next = to;
    for (std::int64_t i = 0; i < f.rows; ++i, from += f.cols) {
      copy_row(from, f.cols, next);
      next += f.cols;
      for (std::int64_t gap = f.pitch() - f.cols; gap > 0; --gap) *next++ = 0;
    }
    std::fill(next, to + pitch, T(0));
  }
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

Frame frame_of_input(const ConvShape& s) {
  return {s.group_in(), s.h, s.w, s.oh, s.ow, s.kh, s.kw, s.options.dilation, s.options.padding};
}

}  // namespace

template<class T>
void shift_forward(const ConvShape& s, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const Tensor& y) {
  const Frame f = frame_of_input(s);
  const auto offsets = f.offsets();
  std::vector<std::vector<T>> weights;
  for (std::int64_t g = 0; g < s.options.groups; ++g)
    weights.push_back(packed<T>(
        s.group_out(), f.taps(),
        [w = ConvPart<T>{s, 0, g}.weight(weight), &f](auto r, auto k) { return w[r * f.taps() + k]; }));
  each_part<T>(s, [&](const ConvPart<T>& p) {
    convolve(f, s.group_out(), weights[static_cast<std::size_t>(p.g)].data(), offsets, p.x(x), p.y(y));
    p.add_bias_to_y(bias, y);
  });
}

// The convolution of g with the kernels turned round, input and output channels exchanged.
template<class T>
void shift_input_grad(const ConvShape& s, const Tensor& g, const Tensor& weight, const Tensor& bias,
                      const Tensor& x) {
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
  each_part<T>(s, [&](const ConvPart<T>& p) {
    convolve(f, s.group_in(), weights[static_cast<std::size_t>(p.g)].data(), offsets, p.y(g), p.x(x));
    p.add_bias_to_x(bias, x);
  });
}

template<class T>
void shift_weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& weight) {
  const Frame f = frame_of_input(s);
  auto offsets = f.offsets();
  const std::int64_t taps = f.taps(), rows = rounded_up(s.group_out(), grad_rows);
  offsets.resize(
      static_cast<std::size_t>(rounded_up(taps, grad_taps)));  // what is too much is left out below
  const std::int64_t pitch = pitch_of_rows<T>(f), all = size_of_frame<T>(f), step = all + rows * pitch;
  constexpr std::int64_t in_cache = 1 << 18;  // bytes
  const std::int64_t at_a_time =
      std::clamp<std::int64_t>(in_cache / (step * static_cast<std::int64_t>(sizeof(T))), 1, s.n);
  sum_weight_grads<T>(s, weight, [&](std::int64_t first, std::int64_t last, std::int64_t group, T* out) {
    const Tensor space = empty({at_a_time * step}, dtype_of<T>());
    T* const frames = static_cast<T*>(space.raw());
    for (std::int64_t n = first; n < last; n += at_a_time) {
      const Gathered<T> images{std::min(at_a_time, last - n), step, f.places(), pitch, frames, frames + all};
      for (std::int64_t i = 0; i < images.images; ++i) {
        const ConvPart<T> part{s, n + i, group};
        fill_frame(f, part.x(x), frames + i * step);
        widen(f, s.group_out(), part.y(g), frames + i * step + all, pitch);
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

template void shift_forward<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                   const Tensor&);
template void shift_forward<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                    const Tensor&);
template void shift_input_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                      const Tensor&);
template void shift_input_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&);
template void shift_weight_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&);
template void shift_weight_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&);

}  // namespace bobbin
