#include "ops/conv/shift.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/ceil_div.h"
#include "ops/conv/frame.h"
#include "ops/conv/parts.h"

namespace bobbin {
namespace {

// Rows of weights, as many beside each other as sums take.
template<class T, class F>
std::vector<T> packed(std::int64_t rows, std::int64_t taps, F&& weight) {
  std::vector<T> out(static_cast<std::size_t>(rounded_up(rows, sum_rows) * taps));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < taps; ++k)
      out[static_cast<std::size_t>((r / sum_rows * taps + k) * sum_rows + r % sum_rows)] = weight(r, k);
  return out;
}

// Channels of images among others: the first pixel, and how far it is to the next channel and row.
template<class T>
struct Planes {
  const T* data;
  std::int64_t channel, row;
};

// What is done to sums as they are copied to y [channels, h, w]: a bias is added, where there is one; then
// relu.
template<class T>
struct Finish {
  const T* bias;
  bool relu = false;

  void operator()(const Planes<T>& from, std::int64_t channels, std::int64_t h, std::int64_t w, T* y) const {
    for (std::int64_t c = 0; c < channels; ++c) {
      const T b = bias ? bias[c] : T(0);
      const auto write = [&](auto function) {
        for (std::int64_t r = 0; r < h; ++r, y += w) {
          prefetch_behind<true>(y, w);
          map_row(w, y, function, from.data + c * from.channel + r * from.row);
        }
      };
      if (relu)
        write([b](auto v) { return v + b <= 0 ? decltype(v){} : v + b; });  // NaN stays
      else
        write([b](auto v) { return v + b; });
    }
  }
};

// Calls f(part, frame) for each part of the convolution, on several threads: with a frame, then space for
// `channels` of a result. A few images one after the other have the same frame, which is 0 for the first.
template<class T, class F>
void each_frame(const ConvShape& s, const Frame& f, std::int64_t channels, F&& call) {
  constexpr std::int64_t images = 4;
  const std::int64_t runs = ceil_div(s.n, images), groups = s.options.groups, size = size_of_frame<T>(f);
  parallel_for(runs * groups, [&](std::int64_t i) {
    const Tensor space = empty({size + channels * channel_step<T>(f)}, dtype_of<T>());
    T* const frame = space.raw<T>();
    std::fill_n(frame, size, T(0));
    for (std::int64_t n = i / groups * images; n < std::min(s.n, (i / groups + 1) * images); ++n)
      call(ConvPart<T>{s, n, i % groups}, frame);
  });
}

// All of one part's result, [rows, f.rows, f.cols], from its image.
template<class T>
void convolve(const Frame& f, std::int64_t rows, const T* weights, const std::vector<std::int64_t>& offsets,
              const Source<T>& image, const Finish<T>& finish, T* frame, T* y) {
  const std::int64_t pitch = channel_step<T>(f);
  T* const wide = frame + size_of_frame<T>(f);
  fill_frame(f, image, frame);
  each_registers<T>(f, [&](std::int64_t at, std::int64_t place, int registers, std::int64_t gap) {
    const auto taps = [from = frame + at, &offsets](std::int64_t k) {
      return from + offsets[static_cast<std::size_t>(k)];
    };
    for (std::int64_t r = 0; r < rows; r += sum_rows)
      sum_products(static_cast<int>(std::min<std::int64_t>(sum_rows, rows - r)), registers,
                   Terms{f.taps(), weights + r * f.taps(), Constant<sum_rows>(), Constant<1>(), taps, gap},
                   wide + r * pitch + place, pitch);
  });
  finish({wide, pitch, row_step<T>(f)}, rows, f.rows, f.cols, y);
}

// The other way: from a result's gradient, [rows, f.rows, f.cols], that of the image, to whose pixels each
// element of the kernel adds what it made of them. `weights` are those of one element after the other.
template<class T>
void convolve_back(const Frame& f, std::int64_t rows, const std::vector<std::vector<T>>& weights,
                   const Source<T>& g, const Finish<T>& finish, T* frame, T* x) {
  const std::int64_t pitch = channel_step<T>(f);
  T* const wide = frame + size_of_frame<T>(f);
  std::fill(frame, wide, T(0));
  clear_gaps(f, rows, wide);
  widen(f, rows, g, wide);
  // What is read for each sum, these registers of all rows, is to stay in L1.
  each_registers<T>(f, [&](std::int64_t at, std::int64_t place, int registers, std::int64_t gap) {
    const auto row = [from = wide + place, pitch](std::int64_t r) { return from + r * pitch; };
    for (std::int64_t c = 0; c < f.channels; c += sum_rows)
      for (std::int64_t k = 0; k < f.kh * f.kw; ++k) {
        const T* const factors = weights[static_cast<std::size_t>(k)].data() + c * rows;
        T* const to = frame + c * f.plane() + k / f.kw * f.dilation.h * f.pitch() + k % f.kw * f.dilation.w;
        sum_products(static_cast<int>(std::min<std::int64_t>(sum_rows, f.channels - c)), registers,
                     Terms{rows, factors, Constant<sum_rows>(), Constant<1>(), row, register_lanes<T>},
                     to + at, f.plane(), true, gap);
      }
  });
  finish({frame + f.padding.h * f.pitch() + f.left(), f.plane(), f.pitch()}, f.channels, f.h, f.w, x);
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

// Where there was padding enough, the convolution of g with the kernels turned round, input and output
// channels exchanged. Else that would for the most part multiply zeros.
template<class T>
void shift_input_grad(const ConvShape& s, const Tensor& g, const Tensor& gate, const Tensor& weight,
                      const Tensor& bias, const Tensor& x) {
  const auto& [stride, padding, dilation, groups] = s.options;
  const std::int64_t kernel = s.kh * s.kw;
  const auto weights_of = [&](std::int64_t group, std::int64_t taps, auto&& element) {
    return packed<T>(s.group_in(), taps, [&, w = ConvPart<T>{s, 0, group}.weight(weight)](auto c, auto k) {
      const auto [out, at] = element(k);
      return w[(out * s.group_in() + c) * kernel + at];
    });
  };
  if (s.h * s.w * 4 < s.places() * 5) {
    const Frame f{
        s.group_out(), s.oh,     s.ow,
        s.h,           s.w,      s.kh,
        s.kw,          dilation, {dilation.h * (s.kh - 1) - padding.h, dilation.w * (s.kw - 1) - padding.w}};
    const auto offsets = f.offsets();
    std::vector<std::vector<T>> weights;
    for (std::int64_t group = 0; group < groups; ++group)
      weights.push_back(weights_of(
          group, f.taps(), [&](std::int64_t k) { return std::pair(k / kernel, kernel - 1 - k % kernel); }));
    each_frame<T>(s, f, s.group_in(), [&](const ConvPart<T>& p, T* frame) {
      convolve(f, s.group_in(), weights[static_cast<std::size_t>(p.g)].data(), offsets, source(p, g, gate),
               {p.in_bias(bias)}, frame, p.x(x));
    });
  } else {
    const Frame f = frame_of_input(s);
    std::vector<std::vector<std::vector<T>>> weights(static_cast<std::size_t>(groups));
    for (std::int64_t group = 0; group < groups; ++group)
      for (std::int64_t at = 0; at < kernel; ++at)
        weights[static_cast<std::size_t>(group)].push_back(
            weights_of(group, s.group_out(), [&](std::int64_t out) { return std::pair(out, at); }));
    each_frame<T>(s, f, s.group_out(), [&](const ConvPart<T>& p, T* frame) {
      convolve_back(f, s.group_out(), weights[static_cast<std::size_t>(p.g)], source(p, g, gate),
                    {p.in_bias(bias)}, frame, p.x(x));
    });
  }
}

template void shift_forward<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                   const Tensor&);
template void shift_forward<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                    const Tensor&);
template void shift_input_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                      const Tensor&, const Tensor&);
template void shift_input_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&, const Tensor&);
}  // namespace bobbin
