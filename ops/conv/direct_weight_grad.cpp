// Direct convolutions on the CPU: the gradients of the weight and the bias.
#include <algorithm>

#include "core/ceil_div.h"
#include "ops/conv/cpu.h"
#include "ops/conv/padded_image.h"
#include "ops/cpu/vectors.h"

namespace bobbin {
namespace {

// The block of the weight's gradient that correlate() sums in registers: output channels and taps.
constexpr int block_channels = many_registers ? 6 : 4, block_taps = many_registers ? 4 : 3;
// The number of its elements, rounded up to whole registers: at the end, each element is one lane.
template<class T>
constexpr std::int64_t block_sums = rounded_up(block_channels* block_taps, register_lanes<T>);

// A few padded images and the cotangents of their outputs, `pitch` elements from image to image.
template<class T>
struct ImageBatch {
  std::int64_t count, pitch;
  const T *padded, *g;
};

// A part of the output positions of some images: images [image, image_end), of these the strips
// [strip, strip_end), and of these the elements [first, last), whole registers.
struct Positions {
  std::int64_t image, image_end, strip, strip_end, first, last;
};

// Calls f(Positions) for parts that together are all positions of `images` images. A part has at most
// most_registers of them, as a lane sums the positions of a part in one running sum; where all images have no
// more, there is one part.
template<class T, class F>
void each_part(std::int64_t images, const Strips& s, F&& f) {
  constexpr std::int64_t most_registers = 256, most = most_registers * register_lanes<T>;
  const std::int64_t length = s.registers * register_lanes<T>, of_strip = std::min(length, most),
                     strips = std::clamp<std::int64_t>(
                         most_registers / std::max<std::int64_t>(1, s.registers), 1, s.count),
                     together =
                         strips < s.count || of_strip < length
                             ? 1
                             : std::max<std::int64_t>(
                                   1, most_registers / std::max<std::int64_t>(1, s.count * s.registers));
  for (std::int64_t n = 0; n < images; n += together)
    for (std::int64_t k = 0; k < s.count; k += strips)
      for (std::int64_t p = 0; p < length; p += of_strip)
        f(Positions{n, std::min(images, n + together), k, std::min(s.count, k + strips), p,
                    std::min(length, p + of_strip)});
}

// out[i * block_taps + j] = the sum over some output positions of channel `channel` + i of g times the input
// of tap j.
template<class T>
void correlate(const PaddedImage& f, const ImageBatch<T>& images, const Positions& of,
               const std::int64_t* tap_offsets, std::int64_t channel, T* out) {
  using V = Register<T>;
  const Strips s = strips<T>(f);
  const std::int64_t pitch = sum_channel_pitch<T>(f);
  V sum[block_sums<T>] = {};
  for (std::int64_t n = of.image; n < of.image_end; ++n)
    for (std::int64_t k = of.strip; k < of.strip_end; ++k) {
      const T* const padded = images.padded + n * images.pitch + k * s.input_pitch;
      const T* const g = images.g + n * images.pitch + channel * pitch + k * s.sum_pitch;
      for (std::int64_t p = of.first, at = of.first / register_lanes<T> * s.gap; p < of.last;
           p += register_lanes<T>, at += s.gap) {
        V x[block_taps];
        for (int j = 0; j < block_taps; ++j) x[j] = simd::load_register(padded + tap_offsets[j] + at);
        for (int i = 0; i < block_channels; ++i) {
          const V v = simd::load_register(g + i * pitch + p);
          for (int j = 0; j < block_taps; ++j) sum[i * block_taps + j] += v * x[j];
        }
      }
    }
#pragma GCC unroll 8
  for (std::int64_t k = 0; k < block_sums<T>; k += register_lanes<T>) {
    V part[register_lanes<T>];
#pragma GCC unroll 16
    for (std::int64_t i = 0; i < register_lanes<T>; ++i) part[i] = sum[k + i];
    simd::store_register(out + k, simd::reduce_registers(part, [](const V& a, const V& b) { return a + b; }));
  }
}

// The sum of n elements. Those that fill the last register must be zeros.
template<class T>
double sum_of_row(const T* row, std::int64_t n) {
  using V = Register<T>;
  constexpr std::int64_t most = 256;  // registers that are summed in T
  const auto x = [row](std::int64_t i) { return simd::load_register(row + i * register_lanes<T>); };
  const std::int64_t registers = ceil_div(n, register_lanes<T>);
  double total = 0;
  for (std::int64_t i = 0; i < registers;) {
    const std::int64_t end = std::min(registers, i + most);
    V sum[4] = {};
    for (; i + 4 <= end; i += 4)
      for (int k = 0; k < 4; ++k) sum[k] += x(i + k);
    for (; i < end; ++i) sum[0] += x(i);
    total += static_cast<double>(simd::reduce_lanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]),
                                                       [](const V& a, const V& b) { return a + b; }));
  }
  return total;
}

// The number of images of a slice that are summed together, at most `most`: one block of their channels fits
// the L1 cache, and all their channels fit the L2 cache. Batches of a slice are about equal in size.
// image_size and block_elements count elements.
template<class T>
std::int64_t batch_size(std::int64_t most, std::int64_t image_size, std::int64_t block_elements) {
  constexpr std::int64_t l1 = 26 << 10, l2 = 400 << 10;  // bytes
  const std::int64_t size = static_cast<std::int64_t>(sizeof(T)),
                     fitting = std::clamp<std::int64_t>(
                         std::min(l2 / (image_size * size), l1 / (block_elements * size)), 1, most);
  return ceil_div(most, ceil_div(most, fitting));
}

}  // namespace

template<class T>
void direct_weight_grad(const ConvShape& s, const Tensor& x, const Tensor& g, const Tensor& gate,
                        const Tensor& weight, const Tensor& bias) {
  const PaddedImage f = padded_input(s);
  const std::int64_t taps = f.taps(), channels = s.group_out(), channel_pitch = sum_channel_pitch<T>(f),
                     input_size = padded_size<T>(f),
                     image_pitch = input_size + rounded_up(channels, block_channels) * channel_pitch,
                     batch = batch_size<T>(std::max<std::int64_t>(1, ceil_div(s.n, weight_grad_slices)),
                                           image_pitch, block_channels * channel_pitch + f.channel_size());
  auto tap_offsets = f.tap_offsets();
  // The additional taps read offset 0, and their results are not used.
  tap_offsets.resize(static_cast<std::size_t>(rounded_up(taps, block_taps)));
  sum_weight_grads<T>(
      s, weight, bias, [&](std::int64_t first, std::int64_t last, std::int64_t group, double* out) {
        const Tensor buffer = empty({batch * image_pitch}, dtype_of<T>());
        T *const padded = buffer.raw<T>(), *const cotangent = padded + input_size;
        double* const bias_sums = out + channels * taps;
        for (std::int64_t i = 0; i < batch; ++i) {
          std::fill_n(padded + i * image_pitch, input_size, T(0));
          clear_gaps(f, channels, cotangent + i * image_pitch);
        }
        for (std::int64_t n = first; n < last; n += batch) {
          const ImageBatch<T> images{std::min(batch, last - n), image_pitch, padded, cotangent};
          for (std::int64_t i = 0; i < images.count; ++i) {
            const ConvGroup<T> p{s, n + i, group};
            T* const sums = cotangent + i * image_pitch;
            fill_padded(f, {p.x(x)}, padded + i * image_pitch);
            fill_sums(f, channels, output_grad(p, g, gate), sums);
            for (std::int64_t c = 0; bias && c < channels; ++c)
              bias_sums[c] += sum_of_row(sums + c * channel_pitch, f.out_h * sum_row_pitch<T>(f));
          }
          for (std::int64_t c = 0; c < channels; c += block_channels)
            for (std::int64_t k = 0; k < taps; k += block_taps)
              each_part<T>(images.count, strips<T>(f), [&](const Positions& part) {
                T sums[block_sums<T>];
                correlate(f, images, part, tap_offsets.data() + k, c, sums);
                for (std::int64_t i = 0; i < std::min<std::int64_t>(block_channels, channels - c); ++i)
                  for (std::int64_t j = 0; j < std::min<std::int64_t>(block_taps, taps - k); ++j)
                    out[(c + i) * taps + k + j] += static_cast<double>(sums[i * block_taps + j]);
              });
        }
      });
  replace_nan<T>(weight, [&, all = ExistingProducts<T>{s, x.raw<T>(), nullptr, g.raw<T>(), gate.raw<T>()}](
                             std::int64_t i) { return all.weight_grad(i); });
}

template void direct_weight_grad<float>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                        const Tensor&, const Tensor&);
template void direct_weight_grad<double>(const ConvShape&, const Tensor&, const Tensor&, const Tensor&,
                                         const Tensor&, const Tensor&);

}  // namespace bobbin
