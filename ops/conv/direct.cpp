// Direct convolutions on the CPU: the output, and the gradient of the input.
#include <algorithm>
#include <utility>
#include <vector>

#include "core/ceil_div.h"
#include "ops/conv/cpu.h"
#include "ops/conv/padded_image.h"

namespace bobbin {
namespace {

// Weights in the order in which sum_products reads them: blocks of sum_rows rows, tap by tap.
// weight(row, tap) gives an element.
template<class T, class F>
std::vector<T> packed(std::int64_t rows, std::int64_t taps, F&& weight) {
  std::vector<T> out(static_cast<std::size_t>(rounded_up(rows, sum_rows) * taps));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < taps; ++k)
      out[static_cast<std::size_t>((r / sum_rows * taps + k) * sum_rows + r % sum_rows)] = weight(r, k);
  return out;
}

// The first element of the sums that make a result, and the distances of their channels and rows.
template<class T>
struct Sums {
  const T* data;
  std::int64_t channel_pitch, row_pitch;
};

// Copies sums to a result [channels, h, w]; adds a bias if there is one, and applies relu if `relu` is true.
template<class T>
struct Epilogue {
  const T* bias;
  bool relu = false;

  void operator()(const Sums<T>& from, std::int64_t channels, std::int64_t h, std::int64_t w, T* y) const {
    for (std::int64_t c = 0; c < channels; ++c) {
      const T b = bias ? bias[c] : T(0);
      const auto write = [&](auto function) {
        for (std::int64_t r = 0; r < h; ++r, y += w) {
          prefetch_ahead<true>(y, w);
          map_row(w, y, function, from.data + c * from.channel_pitch + r * from.row_pitch);
        }
      };
      if (relu)
        write([b](auto v) { return v + b <= 0 ? decltype(v){} : v + b; });  // NaN stays
      else
        write([b](auto v) { return v + b; });
    }
  }
};

// Calls f(group, padded) for each group of each image, on several threads. `padded` has room for a padded
// image, which is all zeros at first, and then for the sums of `channels` output channels. Four images in
// turn use the same memory, so that the padding is cleared once.
template<class T, class F>
void each_padded_group(const ConvShape& s, const PaddedImage& f, std::int64_t channels, F&& call) {
  constexpr std::int64_t images = 4;
  const std::int64_t tasks = ceil_div(s.n, images), groups = s.options.groups, size = padded_size<T>(f);
  parallel_for(tasks * groups, [&](std::int64_t i) {
    const Tensor buffer = empty({size + channels * sum_channel_pitch<T>(f)}, dtype_of<T>());
    T* const padded = buffer.raw<T>();
    std::fill_n(padded, size, T(0));
    for (std::int64_t n = i / groups * images; n < std::min(s.n, (i / groups + 1) * images); ++n)
      call(ConvGroup<T>{s, n, i % groups}, padded);
  });
}

// How many of `terms` products are one running sum: of more than 8192, it would lose digits.
std::int64_t run_of(std::int64_t terms) { return terms > 8192 ? 512 : std::max<std::int64_t>(1, terms); }

// y [rows, out_h, out_w] = the convolution of an image with packed weights.
template<class T>
void convolve(const PaddedImage& f, std::int64_t rows, const T* weights,
              const std::vector<std::int64_t>& tap_offsets, const GatedInput<T>& image,
              const Epilogue<T>& epilogue, T* padded, T* y) {
  const std::int64_t pitch = sum_channel_pitch<T>(f), taps = f.taps(), run = run_of(taps);
  T* const sums = padded + padded_size<T>(f);
  fill_padded(f, image, padded);
  each_register_block<T>(f, [&](std::int64_t input, std::int64_t sum, int registers, std::int64_t gap) {
    for (std::int64_t first = 0; first == 0 || first < taps; first += run) {  // once at least, for the zeros
      const auto tap = [from = padded + input, offsets = tap_offsets.data() + first](std::int64_t k) {
        return from + offsets[k];
      };
      for (std::int64_t r = 0; r < rows; r += sum_rows)
        sum_products(static_cast<int>(std::min<std::int64_t>(sum_rows, rows - r)), registers,
                     Terms{std::min(run, taps - first), weights + r * taps + first * sum_rows,
                           Constant<sum_rows>(), Constant<1>(), tap, gap},
                     sums + r * pitch + sum, pitch, first > 0);
    }
  });
  epilogue({sums, pitch, sum_row_pitch<T>(f)}, rows, f.out_h, f.out_w, y);
}

// The transposed convolution: from the cotangent g [rows, out_h, out_w], the gradient of the image. Each tap
// adds its products to the pixels that it reads in the convolution. `weights` holds packed weights for each
// of the kh * kw taps.
template<class T>
void convolve_transposed(const PaddedImage& f, std::int64_t rows, const std::vector<std::vector<T>>& weights,
                         const GatedInput<T>& g, const Epilogue<T>& epilogue, T* padded, T* x) {
  const std::int64_t pitch = sum_channel_pitch<T>(f), run = run_of(rows);
  T* const cotangent = padded + padded_size<T>(f);
  std::fill(padded, cotangent, T(0));
  clear_gaps(f, rows, cotangent);
  fill_sums(f, rows, g, cotangent);
  // The outermost loop is over blocks of registers: one block of all rows stays in the L1 cache.
  each_register_block<T>(f, [&](std::int64_t input, std::int64_t sum, int registers, std::int64_t gap) {
    for (std::int64_t c = 0; c < f.channels; c += sum_rows)
      for (std::int64_t k = 0; k < f.kh * f.kw; ++k) {
        const T* const factors = weights[static_cast<std::size_t>(k)].data() + c * rows;
        T* const to =
            padded + c * f.channel_size() + k / f.kw * f.dilation.h * f.pitch() + k % f.kw * f.dilation.w;
        for (std::int64_t first = 0; first < rows; first += run) {
          const auto row = [from = cotangent + sum + first * pitch, pitch](std::int64_t r) {
            return from + r * pitch;
          };
          sum_products(static_cast<int>(std::min<std::int64_t>(sum_rows, f.channels - c)), registers,
                       Terms{std::min(run, rows - first), factors + first * sum_rows, Constant<sum_rows>(),
                             Constant<1>(), row, register_lanes<T>},
                       to + input, f.channel_size(), true, gap);
        }
      }
  });
  epilogue({padded + f.padding.h * f.pitch() + f.left(), f.channel_size(), f.pitch()}, f.channels, f.h, f.w,
           x);
}

}  // namespace

template<class T>
void direct_forward(const ConvShape& s, const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu,
                    const Tensor& y) {
  const PaddedImage f = padded_input(s);
  const auto tap_offsets = f.tap_offsets();
  std::vector<std::vector<T>> weights;
  for (std::int64_t g = 0; g < s.options.groups; ++g)
    weights.push_back(packed<T>(
        s.group_out(), f.taps(),
        [w = ConvGroup<T>{s, 0, g}.weight(weight), &f](auto r, auto k) { return w[r * f.taps() + k]; }));
  each_padded_group<T>(s, f, s.group_out(), [&](const ConvGroup<T>& p, T* padded) {
    convolve(f, s.group_out(), weights[static_cast<std::size_t>(p.group)].data(), tap_offsets, {p.x(x)},
             {p.out_bias(bias), relu}, padded, p.y(y));
  });
}

template<class T>
void direct_input_grad(const ConvShape& s, const Tensor& g, const Tensor& gate, const Tensor& weight,
                       const Tensor& bias, const Tensor& x) {
  const auto& [stride, padding, dilation, groups] = s.options;
  const std::int64_t kernel = s.kh * s.kw;
  // Packed weights with a row for each input channel. element(k) gives the output channel and the tap of
  // column k.
  const auto packed_weights = [&](std::int64_t group, std::int64_t columns, auto&& element) {
    return packed<T>(s.group_in(), columns,
                     [&, w = ConvGroup<T>{s, 0, group}.weight(weight)](auto c, auto k) {
                       const auto [out, tap] = element(k);
                       return w[(out * s.group_in() + c) * kernel + tap];
                     });
  };
  // Where the image is at most a quarter larger than the output, its gradient is the convolution of g with
  // the mirrored kernel, input and output channels exchanged. For a larger image, that convolution would
  // multiply many zeros of padding.
  if (s.h * s.w * 4 < s.output_positions() * 5) {
    const PaddedImage f{
        s.group_out(), s.oh,     s.ow,
        s.h,           s.w,      s.kh,
        s.kw,          dilation, {dilation.h * (s.kh - 1) - padding.h, dilation.w * (s.kw - 1) - padding.w}};
    const auto tap_offsets = f.tap_offsets();
    std::vector<std::vector<T>> weights;
    for (std::int64_t group = 0; group < groups; ++group)
      weights.push_back(packed_weights(
          group, f.taps(), [&](std::int64_t k) { return std::pair(k / kernel, kernel - 1 - k % kernel); }));
    each_padded_group<T>(s, f, s.group_in(), [&](const ConvGroup<T>& p, T* padded) {
      convolve(f, s.group_in(), weights[static_cast<std::size_t>(p.group)].data(), tap_offsets,
               output_grad(p, g, gate), {p.in_bias(bias)}, padded, p.x(x));
    });
  } else {
    const PaddedImage f = padded_input(s);
    std::vector<std::vector<std::vector<T>>> weights(static_cast<std::size_t>(groups));
    for (std::int64_t group = 0; group < groups; ++group)
      for (std::int64_t tap = 0; tap < kernel; ++tap)
        weights[static_cast<std::size_t>(group)].push_back(
            packed_weights(group, s.group_out(), [&](std::int64_t out) { return std::pair(out, tap); }));
    each_padded_group<T>(s, f, s.group_out(), [&](const ConvGroup<T>& p, T* padded) {
      convolve_transposed(f, s.group_out(), weights[static_cast<std::size_t>(p.group)],
                          output_grad(p, g, gate), {p.in_bias(bias)}, padded, p.x(x));
    });
  }
  if (!is_finite<T>(weight))
    replace_nan<T>(x, [&, all = ExistingProducts<T>{s, nullptr, weight.raw<T>(), g.raw<T>(), gate.raw<T>()}](
                          std::int64_t i) {
      return all.input(i) + (bias ? bias.raw<T>()[i / (s.h * s.w) % s.in] : T(0));
    });
}

template void direct_forward<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                    const Tensor&);
template void direct_forward<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&, bool,
                                     const Tensor&);
template void direct_input_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                       const Tensor&, const Tensor&);
template void direct_input_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, const Tensor&);
}  // namespace bobbin
