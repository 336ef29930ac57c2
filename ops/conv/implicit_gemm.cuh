// The input of implicit GEMM kernels (Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014):
// im2col columns that are never stored. A block copies the part of the padded images that its output
// positions read to shared memory, channel by channel, and reads the elements of columns from there.
#pragma once
#include <algorithm>
#include <cstdlib>

#include "core/ceil_div.h"
#include "core/cuda/ptx.cuh"
#include "core/cuda/strided.cuh"
#include "ops/conv/conv.h"

namespace bobbin::cuda {

/// The tile of the input in shared memory: for each channel, `rows` rows of padded images, which lie one
/// below the other. Output positions are numbered through all images. The output at (row, col) reads, for
/// kernel tap (ky, kx), the element (row * stride_h + ky * tap_step_h - min_tap_h, and so for w) of its
/// padded image.
struct InputTile {
  const float* x;
  const float* gate;       // shape of x: elements of x count as 0 where it is not positive; null: all count
  int channels;            // of an image
  int group_channels;      // that an output reads
  int h, w;                // of an image
  int padded_h, padded_w;  // of an image with its padding
  int top, left;           // padding before an image
  int stride_h, stride_w;  // from output to output
  int tap_step_h, tap_step_w;  // the dilation; negative for a mirrored kernel
  int min_tap_h, min_tap_w;    // the smallest ky * tap_step_h: 0, or negative for a mirrored kernel
  int rows;                    // that the output positions of a block read, at most
  unsigned positions;          // output positions of all images
  Divider by_image_positions, by_cols, by_padded_h, by_padded_w, by_channel_taps, by_kw;

  BOBBIN_HD int channel_taps() const { return static_cast<int>(by_channel_taps.d); }
  BOBBIN_HD int taps() const { return group_channels * channel_taps(); }
  BOBBIN_HD int channel_size() const { return rows * padded_w; }  ///< elements of a channel of the tile
  /// Sets `rows` for blocks of `block` consecutive output positions.
  void set_rows(int block);

  /// The first row that an output position reads, in the padded images one below the other.
  __device__ unsigned first_row(unsigned position) const {
    const unsigned image = by_image_positions(position);
    return image * static_cast<unsigned>(padded_h) +
           by_cols(position - image * by_image_positions.d) * static_cast<unsigned>(stride_h);
  }
  /// The offset of an output position's window in a channel of a tile that begins with row `tile_row`.
  __device__ int window_offset(unsigned position, unsigned tile_row) const {
    const unsigned in_image = position - by_image_positions(position) * by_image_positions.d;
    return static_cast<int>(first_row(position) - tile_row) * padded_w +
           static_cast<int>(in_image - by_cols(in_image) * by_cols.d) * stride_w;
  }
  /// The offset of tap k, counted through the channels of the tile, from the window's.
  __device__ int tap_offset(unsigned k) const {
    const unsigned channel = by_channel_taps(k), i = k - channel * by_channel_taps.d, ky = by_kw(i),
                   kx = i - ky * by_kw.d;
    return static_cast<int>(channel) * channel_size() +
           (static_cast<int>(ky) * tap_step_h - min_tap_h) * padded_w + static_cast<int>(kx) * tap_step_w -
           min_tap_w;
  }
  /// Starts asynchronous copies of `count` channels from `channel` on, of the rows that output positions
  /// [first, last] read, to `to`; and of the gate to gate_to, unless that is null.
  __device__ void copy_async(float* to, float* gate_to, int channel, int count, unsigned first,
                             unsigned last) const {
    const int image_size = h * w, tile_step = channel_size();
    each_element(first, last, [&](int i, unsigned image, int row, int col, bool inside) {
      const std::int64_t at =
          inside ? (static_cast<std::int64_t>(image) * channels + channel) * image_size + row * w + col : 0;
      const int step = inside ? image_size : 0;
      const float *from = x + at, *gate_from = gate + at;
      float *element = to + i, *gate_element = gate_to + i;
#pragma unroll 4
      for (int c = 0; c < count; ++c, from += step, element += tile_step) {
        ptx::cp_async_ca_4(element, from, inside);
        if (!gate_to) continue;
        ptx::cp_async_ca_4(gate_element, gate_from, inside);
        gate_from += step;
        gate_element += tile_step;
      }
    });
  }
  /// Applies the gate to what copy_async() copied. Each thread does so to the elements that it copied itself.
  __device__ void apply_gate(float* tile, const float* gate_tile, int count, unsigned first,
                             unsigned last) const {
    each_element(first, last, [&, step = channel_size()](int i, unsigned, int, int, bool) {
#pragma unroll 4
      for (int c = 0; c < count; ++c, i += step) tile[i] = gate_tile[i] <= 0 ? 0 : tile[i];
    });
  }

 private:
  // Calls f(i, image, row, col, inside) for this thread's elements i of a channel of the tile: they are the
  // pixel (row, col) of an image, where `inside`, else padding.
  template<class F>
  __device__ void each_element(unsigned first, unsigned last, F&& f) const {
    const unsigned tile_row = first_row(first);
    const int tile_rows = static_cast<int>(first_row(last) - tile_row) + padded_h -
                          (static_cast<int>(by_image_positions.d / by_cols.d) - 1) * stride_h;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < tile_rows * padded_w; i += static_cast<int>(blockDim.x)) {
      const unsigned below = by_padded_w(static_cast<unsigned>(i)), image = by_padded_h(tile_row + below);
      const int row = static_cast<int>(tile_row + below - image * by_padded_h.d) - top,
                col = i - static_cast<int>(below) * padded_w - left;
      f(i, image, row, col, row >= 0 && row < h && col >= 0 && col < w);
    }
  }
};

/// The float at byte offset `bytes` from p.
__device__ __forceinline__ float at_bytes(const float* p, int bytes) {
  return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(p) + bytes);
}

inline void InputTile::set_rows(int block) {
  const int cols = static_cast<int>(by_cols.d), image_positions = static_cast<int>(by_image_positions.d),
            output_rows = padded_h - (image_positions / cols - 1) * stride_h;  // that one output reads
  // How many rows of outputs a block can begin or continue, and how many images after its first.
  const int out_rows = (block + cols - 2) / cols + 1,
            images = (block + image_positions - 2) / image_positions;
  rows = (out_rows - 1) * stride_h + output_rows + images * std::max(0, output_rows - stride_h);
}

/// The tile of x whose outputs are out_h x out_w, tap (0, 0) of the first at pixel `origin` of the image.
inline InputTile input_tile(const ConvShape& s, const Tensor& x, const Tensor& gate, std::int64_t out_h,
                            std::int64_t out_w, Pair stride, Pair tap_step, Pair origin) {
  const Pair min_tap(std::min<std::int64_t>(0, tap_step.h * (s.kh - 1)),
                     std::min<std::int64_t>(0, tap_step.w * (s.kw - 1))),
      padded((out_h - 1) * stride.h + std::abs(tap_step.h) * (s.kh - 1) + 1,
             (out_w - 1) * stride.w + std::abs(tap_step.w) * (s.kw - 1) + 1);
  const auto narrow = [](std::int64_t n) { return static_cast<int>(n); };
  const auto divider = [](std::int64_t n) { return Divider(static_cast<std::uint32_t>(n)); };
  return {.x = x.raw<float>(),
          .gate = gate.raw<float>(),
          .channels = narrow(x.size(1)),
          .group_channels = narrow(x.size(1) / s.options.groups),
          .h = narrow(x.size(2)),
          .w = narrow(x.size(3)),
          .padded_h = narrow(padded.h),
          .padded_w = narrow(padded.w),
          .top = narrow(-origin.h - min_tap.h),
          .left = narrow(-origin.w - min_tap.w),
          .stride_h = narrow(stride.h),
          .stride_w = narrow(stride.w),
          .tap_step_h = narrow(tap_step.h),
          .tap_step_w = narrow(tap_step.w),
          .min_tap_h = narrow(min_tap.h),
          .min_tap_w = narrow(min_tap.w),
          .rows = 0,
          .positions = static_cast<unsigned>(s.n * out_h * out_w),
          .by_image_positions = divider(out_h * out_w),
          .by_cols = divider(out_w),
          .by_padded_h = divider(padded.h),
          .by_padded_w = divider(padded.w),
          .by_channel_taps = divider(s.kh * s.kw),
          .by_kw = divider(s.kw)};
}

/// The tile of x that outputs of conv2d read.
inline InputTile input_tile(const ConvShape& s, const Tensor& x) {
  const auto& o = s.options;
  return input_tile(s, x, {}, s.oh, s.ow, o.stride, o.dilation, {-o.padding.h, -o.padding.w});
}

/// The tile of y's cotangent g that the gradient of x, which is its convolution with the mirrored kernel,
/// reads. For stride 1.
inline InputTile output_grad_tile(const ConvShape& s, const Tensor& g, const Tensor& gate) {
  const auto& o = s.options;
  return input_tile(s, g, gate, s.h, s.w, 1, {-o.dilation.h, -o.dilation.w}, o.padding);
}

}  // namespace bobbin::cuda
