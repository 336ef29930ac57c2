// Gradients of weights without a matrix of columns: sums over all places of all images. A block adds up some
// of the places, of which each lane takes every 32nd, for the channels and taps of its warp. Then the lanes'
// sums are added, and those of all blocks, in one order. The gradient of a bias is one tap more.
#include <algorithm>
#include <bit>

#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/conv/cuda.h"
#include "ops/conv/windows.cuh"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256, warps = threads / 32;  // and places of a block at a time
constexpr int rows = 8, cols = 10;                  // channels and taps of a warp
constexpr int stages = 2;                           // places that are on their way, or in use

struct WeightSums {
  Windows windows;
  const float* g;
  const float* gate;  // elements of g count as 0 where this is not positive; null: all count
  float* parts;       // [splits, groups, channels, columns]
  int out;            // channels of an image of g
  int channels;       // of a group of it
  int columns;        // taps of the window, and the bias's, where that is wanted
  int across;         // warps of a block that have different taps, a power of two
  int packs;          // places of g that are copied at once, 4 where they lie on 16 bytes
  int stage;          // floats in shared memory of what is on its way, or in use
  unsigned share;     // places of a block, a multiple of 4
  Divider by_row_tiles, by_tap_tiles;
};

// Sums over the lanes of a warp of what each has of n values: a lane ends up with some of them.
struct LaneShare {
  int first, count;
};
template<int n, int apart = 16>
__device__ LaneShare lanes_share(float* v, LaneShare s = {0, n}) {
  if constexpr (apart == 0) {
    return s;
  } else {
    constexpr int half = (n + 1) / 2;
    const bool upper = threadIdx.x & apart;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float low = v[i], high = half + i < n ? v[half + i] : 0;
      v[i] = (upper ? high : low) + __shfl_xor_sync(~0U, upper ? low : high, apart);
    }
    s = upper ? LaneShare{s.first + half, s.count - half} : LaneShare{s.first, min(s.count, half)};
    return lanes_share<half, apart / 2>(v, s);
  }
}
constexpr int most = (rows * cols + 31) / 32;

// A line of g in shared memory, and what a stage has of it.
constexpr int gradient_floats = rows * threads;

template<int n>
__device__ void apply_gate(float* g) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x) * n; i < gradient_floats; i += threads * n) {
    using Places = Pack<float, n>;
    Places v = *reinterpret_cast<const Places*>(g + i);
    const Places gate = *reinterpret_cast<const Places*>(g + gradient_floats + i);
#pragma unroll
    for (int k = 0; k < n; ++k) v.v[k] = gate.v[k] > 0 ? v.v[k] : 0;
    *reinterpret_cast<Places*>(g + i) = v;
  }
}

template<bool gated>
__global__ void __launch_bounds__(threads, 2) weight_sums(const __grid_constant__ WeightSums p) {
  extern __shared__ float4 memory[];
  const Windows& x = p.windows;
  float* const shared = reinterpret_cast<float*>(memory);  // of a stage: g, the gate, windows, pixels
  constexpr int starts_at = gradient_floats * (gated ? 2 : 1), pixels_at = starts_at + threads;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, group = static_cast<int>(blockIdx.y),
            of_channel = x.of_channel(), places = static_cast<int>(x.by_places.d);
  const unsigned of_taps = p.by_tap_tiles(blockIdx.x), split = p.by_row_tiles(of_taps);
  const int first_tap = static_cast<int>(blockIdx.x - of_taps * p.by_tap_tiles.d) * p.across * cols,
            tap = first_tap + (warp & (p.across - 1)) * cols,
            row = static_cast<int>(of_taps - split * p.by_row_tiles.d) * rows, left = p.channels - row;
  const unsigned begin = split * p.share, end = min(begin + p.share, x.places);
  const int channel = min(first_tap, x.taps() - 1) / of_channel,
            channels = min(first_tap + p.across * cols - 1, x.taps() - 1) / of_channel + 1 - channel;

  // The tap of a bias is 1 everywhere.
  for (int i = thread; i < stages * x.plane(); i += threads)
    shared[(i < x.plane() ? 0 : p.stage - x.plane()) + pixels_at + channels * x.plane() + i] = 1;
  int offset[cols];
#pragma unroll
  for (int j = 0; j < cols; ++j) {
    const int k = tap + j;
    offset[j] = 4 * (pixels_at + (k < x.taps() ? x.offset(static_cast<unsigned>(k - channel * of_channel))
                                               : channels * x.plane()));
  }
  const auto fetch = [&](unsigned from, float* to) {
    if (from < end) {
      const unsigned last = min(from + threads, end) - 1;
      reinterpret_cast<int*>(to)[starts_at + thread] =
          4 * x.start(min(from + threadIdx.x, last), x.first_line(from));
      x.fetch(to + pixels_at, nullptr, group * x.in_group + channel, channels, from, last);
      const auto fetch_gradient = [&]<int n>(std::integral_constant<int, n>) {
#pragma unroll 2
        for (int i = thread * n; i < gradient_floats; i += threads * n) {
          const unsigned q = from + static_cast<unsigned>(i % threads), image = x.by_places(q);
          const bool there = q <= last && i / threads < left;
          const std::int64_t at =
              there ? (static_cast<std::int64_t>(image) * p.out + group * p.channels + row + i / threads) *
                              places +
                          (q - image * x.by_places.d)
                    : 0;
          small::copy_async<n>(to + i, p.g + at, there);
          if (gated) small::copy_async<n>(to + gradient_floats + i, p.gate + at, there);
        }
      };
      p.packs == 4 ? fetch_gradient(std::integral_constant<int, 4>{})
                   : fetch_gradient(std::integral_constant<int, 1>{});
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };

  float sum[rows * cols] = {};
  await_data();
  fetch(begin, shared);
  int next = 1;
#pragma unroll 1
  for (unsigned from = begin; from < end; from += threads, next ^= 1) {
    fetch(from + threads, shared + next * p.stage);
    float* const now = shared + (next ^ 1) * p.stage;
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    if constexpr (gated)  // each thread, what it fetched itself
      p.packs == 4 ? apply_gate<4>(now) : apply_gate<1>(now);
    __syncthreads();
    const int here = static_cast<int>(min(threads, end - from)), step = threads / p.across;
    int i = warp / p.across * 32 + thread % 32;
    if (tap >= p.columns) i = here;
#pragma unroll 2
    for (; i < here; i += step) {
      const int window = reinterpret_cast<const int*>(now)[starts_at + i];
      float a[rows], b[cols];
#pragma unroll
      for (int r = 0; r < rows; ++r) a[r] = now[r * threads + i];
#pragma unroll
      for (int j = 0; j < cols; ++j) b[j] = at_bytes(now, window + offset[j]);
#pragma unroll
      for (int r = 0; r < rows; ++r)
#pragma unroll
        for (int j = 0; j < cols; ++j) sum[r * cols + j] = fmaf(a[r], b[j], sum[r * cols + j]);
    }
    __syncthreads();  // all have used what is overwritten next
  }

  const LaneShare mine = lanes_share<rows * cols>(sum);
  const std::int64_t part = std::int64_t{split} * (warps / p.across) + warp / p.across;
  float* const to = p.parts + ((part * gridDim.y + group) * p.channels + row) * p.columns + tap;
#pragma unroll
  for (int i = 0; i < most; ++i) {
    const int r = (mine.first + i) / cols, k = mine.first + i - r * cols;
    if (i < mine.count && r < left && tap + k < p.columns) to[r * p.columns + k] = sum[i];
  }
}

constexpr int joined = 8;  // elements of a block, each of which several threads add up

// The gradients of weights and, where there is one, of a bias, from the parts of so many splits.
__global__ void __launch_bounds__(threads)
    join_parts(const float* parts, int splits, int elements, Divider by_columns, int window, float* weight,
               float* bias) {
  __shared__ float sums[threads];
  const int thread = static_cast<int>(threadIdx.x),
            i = static_cast<int>(blockIdx.x) * joined + thread % joined;
  await_previous();
  float sum = 0;
  if (i < elements)
#pragma unroll 8
    for (int s = thread / joined; s < splits; s += threads / joined)
      sum += parts[static_cast<std::int64_t>(s) * elements + i];
  sums[thread] = sum;
  __syncthreads();
  if (thread >= joined || i >= elements) return;
#pragma unroll
  for (int k = joined; k < threads; k += joined) sum += sums[thread + k];
  const int row = static_cast<int>(by_columns(static_cast<unsigned>(i))),
            k = i - row * static_cast<int>(by_columns.d);
  (k < window ? weight[row * window + k] : bias[row]) = sum;
}

}  // namespace

bool implicit_weight_grad(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& g,
                          const Tensor& gate, const Tensor& weight, const Tensor& bias) {
  if (!can_be_implicit(s, x.dtype())) return false;
  WeightSums p{};
  p.windows = windows_of_x(s, x);
  p.windows.hold(threads);
  p.g = g.raw<float>();
  p.gate = gate.raw<float>();
  p.out = static_cast<int>(s.out);
  p.channels = static_cast<int>(s.group_out());
  p.columns = static_cast<int>(s.taps()) + (bias ? 1 : 0);

  const Properties& chip = properties(x.device());
  const std::int64_t tap_tiles = ceil_div(p.columns, cols), of_channel = p.windows.of_channel();
  p.across =
      static_cast<int>(std::min<std::int64_t>(warps, std::bit_ceil(static_cast<std::uint64_t>(tap_tiles))));
  // Channels that so many taps are of, at most, and the bias's.
  const std::int64_t channels =
      std::min(s.group_in(), (p.across * cols - 2 + of_channel) / of_channel + 1) + 1;
  p.stage = static_cast<int>(
      ceil_div(gradient_floats * (gate ? 2 : 1) + threads + channels * p.windows.plane(), 4) * 4);
  const std::int64_t shared = stages * p.stage * static_cast<std::int64_t>(sizeof(float));
  if (shared > chip.shared_per_block) return false;
  const std::int64_t row_tiles = ceil_div(p.channels, rows), tap_groups = ceil_div(tap_tiles, p.across),
                     tiles = row_tiles * tap_groups * s.options.groups, places = p.windows.places,
                     splits = std::clamp<std::int64_t>(2 * chip.sms / tiles, 1, ceil_div(places, threads)),
                     all = splits * (warps / p.across);
  p.share = static_cast<unsigned>(ceil_div(places, 4 * splits) * 4);
  p.packs = is_aligned(p.g) && is_aligned(p.gate) && s.output_positions() % 4 == 0 ? 4 : 1;
  p.by_row_tiles = Divider(static_cast<std::uint32_t>(row_tiles));
  p.by_tap_tiles = Divider(static_cast<std::uint32_t>(tap_groups));
  const Tensor sums = empty({all, s.out, p.columns}, DType::f32, x.device());
  p.parts = sums.raw<float>();
  launch(op,
         {.device = x.device(),
          .grid = dim3(static_cast<unsigned>(splits * row_tiles * tap_groups),
                       static_cast<unsigned>(s.options.groups)),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .early = true},
         gate ? weight_sums<true> : weight_sums<false>, p);
  const int elements = static_cast<int>(s.out) * p.columns;
  launch(op, {.device = x.device(), .grid = blocks_for(elements, joined), .block = threads, .early = true},
         join_parts, static_cast<const float*>(p.parts), static_cast<int>(all), elements,
         Divider(static_cast<std::uint32_t>(p.columns)), static_cast<int>(s.taps()), weight.raw<float>(),
         bias.raw<float>());
  return true;
}

}  // namespace bobbin::cuda
