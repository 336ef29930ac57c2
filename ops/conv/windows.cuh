// What a convolution reads of images on a GPU, where no matrix of columns is made (implicit GEMM, as in
// Chetlur et al., "cuDNN: efficient primitives for deep learning", 2014). Images with their padding lie one
// below the other; a block puts the lines that its places read into shared memory, channel by channel, and
// takes windows from there.
#pragma once
#include "core/ceil_div.h"
#include "ops/conv/conv.h"
#include "ops/matmul/small_operand.cuh"

namespace bobbin::cuda {

/// Tap (ky, kx) of the place (row, col) of a result is the pixel of the padded image (row * stride_h + ky *
/// step_h - low_h, col * stride_w + kx * step_w - low_w).
struct Windows {
  const float* x;
  const float* gate;  // pixels count as 0 where this, laid out as x, is not positive; null: all count
  int channels;       // of an image
  int in_group;       // of them, which one place reads
  int h, w;           // of an image
  int high, wide;     // with its padding
  int top, left;      // where it begins there
  int stride_h, stride_w, step_h, step_w, low_h, low_w;
  int lines;        // that the places of a block read, at most
  unsigned places;  // of all images
  Divider by_places, by_cols, by_high, by_wide, by_taps, by_kw;

  BOBBIN_HD int of_channel() const { return static_cast<int>(by_taps.d); }  ///< taps
  BOBBIN_HD int taps() const { return in_group * of_channel(); }
  BOBBIN_HD int plane() const { return lines * wide; }  ///< of a channel in shared memory
  /// For blocks of so many places beside each other.
  void hold(int block);

  __device__ unsigned first_line(unsigned place) const {
    const unsigned image = by_places(place);
    return image * static_cast<unsigned>(high) +
           by_cols(place - image * by_places.d) * static_cast<unsigned>(stride_h);
  }
  /// Where the window of a place begins in shared memory.
  __device__ int start(unsigned place, unsigned line) const {
    const unsigned in_image = place - by_places(place) * by_places.d;
    return static_cast<int>(first_line(place) - line) * wide +
           static_cast<int>(in_image - by_cols(in_image) * by_cols.d) * stride_w;
  }
  /// Where tap k of the channels that are there lies from there.
  __device__ int offset(unsigned k) const {
    const unsigned channel = by_taps(k), i = k - channel * by_taps.d, ky = by_kw(i), kx = i - ky * by_kw.d;
    return static_cast<int>(channel) * plane() + (static_cast<int>(ky) * step_h - low_h) * wide +
           static_cast<int>(kx) * step_w - low_w;
  }
  /// Begins to copy `count` channels, from `channel` on, where the places [first, last] read them; and the
  /// gate's to gate_to, unless that is null.
  __device__ void fetch(float* to, float* gate_to, int channel, int count, unsigned first,
                        unsigned last) const {
    const int area = h * w, to_next = plane();
    each_pixel(first, last, [&](int place, unsigned image, int row, int col, bool inside) {
      const std::int64_t at =
          inside ? (static_cast<std::int64_t>(image) * channels + channel) * area + row * w + col : 0;
      const int step = inside ? area : 0;
      const float *from = x + at, *gate_from = gate + at;
      float *here = to + place, *gate_here = gate_to + place;
#pragma unroll 4
      for (int c = 0; c < count; ++c, from += step, here += to_next) {
        small::copy_async<1>(here, from, inside);
        if (!gate_to) continue;
        small::copy_async<1>(gate_here, gate_from, inside);
        gate_from += step;
        gate_here += to_next;
      }
    });
  }
  /// Each thread does this to what it fetched itself.
  __device__ void apply_gate(float* to, const float* gate_at, int count, unsigned first,
                             unsigned last) const {
    each_pixel(first, last, [&, step = plane()](int i, unsigned, int, int, bool) {
#pragma unroll 4
      for (int c = 0; c < count; ++c, i += step) to[i] = gate_at[i] > 0 ? to[i] : 0;
    });
  }

 private:
  template<class F>
  __device__ void each_pixel(unsigned first, unsigned last, F&& f) const {
    const unsigned line = first_line(first);
    const int lines_here = static_cast<int>(first_line(last) - line) + high -
                           (static_cast<int>(by_places.d / by_cols.d) - 1) * stride_h;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < lines_here * wide; i += static_cast<int>(blockDim.x)) {
      const unsigned below = by_wide(static_cast<unsigned>(i)), image = by_high(line + below);
      const int row = static_cast<int>(line + below - image * by_high.d) - top,
                col = i - static_cast<int>(below) * wide - left;
      f(i, image, row, col, row >= 0 && row < h && col >= 0 && col < w);
    }
  }
};

/// Of what lies so many bytes further.
__device__ __forceinline__ float at_bytes(const float* p, int bytes) {
  return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(p) + bytes);
}

/// What y reads of x, and what the gradient of x, of stride 1, reads of that of y.
Windows windows_of_x(const ConvShape&, const Tensor& x);
Windows windows_of_gradient(const ConvShape&, const Tensor& g, const Tensor& gate);

}  // namespace bobbin::cuda
