// Implicit GEMM of convolutions: the gradients of the weight and the bias, which are sums over the output
// positions of all images. A block sums a part of the positions for a tile of output channels x taps; a
// second kernel sums the blocks' results in a fixed order.
#include <algorithm>
#include <bit>

#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/conv/cuda.h"
#include "ops/conv/existing_products.h"
#include "ops/conv/implicit_gemm.cuh"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256, warps = threads / 32;  // threads is also the number of positions of a stage
constexpr int warp_channels = 8, warp_taps = 10;    // the tile of a warp
constexpr int stages = 2;                           // one is computed with while the next is copied
constexpr int g_floats = warp_channels * threads;   // floats of g in a stage
constexpr std::int64_t lane_positions = 1024;       // most positions that a lane sums: a running sum in f32
constexpr int lane_sums = (warp_channels * warp_taps + 31) / 32;  // most sums that reduce_lanes gives a lane

struct Params {
  InputTile input;
  const float* g;
  const float* gate;   // shape of g: elements of g count as 0 where it is not positive; null: all count
  float* partial;      // [splits * warps / tap_warps, groups, group_channels, columns]
  int channels;        // channels of an image of g
  int group_channels;  // and of a group
  int columns;         // the taps and, where its gradient is wanted, the bias: a tap whose input is 1
  int tap_warps;       // warps of a block that have different taps, a power of two; the others have other
                       // positions
  int copy_width;      // floats of g that one instruction copies: 4 where g and its planes are aligned, or 1
  int stage;           // floats of shared memory for a stage
  unsigned block_positions;  // a multiple of 4
  Divider by_channel_tiles, by_tap_tiles;
};

// A lane has the sums of the values [first, first + count).
struct LaneValues {
  int first, count;
};
// Sums each of n values over the lanes of a warp by recursive halving: in each step, lanes `distance` apart
// exchange one half of their values and add the other. At the end, the first elements of v are this lane's
// sums.
template<int n, int distance = 16>
__device__ LaneValues reduce_lanes(float* v, LaneValues s = {0, n}) {
  if constexpr (distance == 0) {
    return s;
  } else {
    constexpr int half = (n + 1) / 2;
    const bool upper = threadIdx.x & distance;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float low = v[i], high = half + i < n ? v[half + i] : 0;
      v[i] = (upper ? high : low) + __shfl_xor_sync(~0U, upper ? low : high, distance);
    }
    s = upper ? LaneValues{s.first + half, s.count - half} : LaneValues{s.first, min(s.count, half)};
    return reduce_lanes<half, distance / 2>(v, s);
  }
}

// Starts an asynchronous copy of n floats, or writes zeros where `inside` is false.
template<int n>
__device__ __forceinline__ void copy_async(float* to, const float* from, bool inside) {
  if constexpr (n == 4)
    ptx::cp_async_cg_16(to, from, inside);
  else
    ptx::cp_async_ca_4(to, from, inside);
}

// Each thread applies the gate to the elements of a stage's g that it copied itself.
template<int n>
__device__ __forceinline__ void apply_gate(float* g) {
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x) * n; i < g_floats; i += threads * n) {
    using Vector = Pack<float, n>;
    Vector v = *reinterpret_cast<const Vector*>(g + i);
    const Vector gate = *reinterpret_cast<const Vector*>(g + g_floats + i);
#pragma unroll
    for (int k = 0; k < n; ++k) v.v[k] = gate.v[k] <= 0 ? 0 : v.v[k];
    *reinterpret_cast<Vector*>(g + i) = v;
  }
}

// Adds the products at the positions first, first + step, ... before last of a stage to the sums
// [warp_channels, warp_taps]. windows[i] is the byte offset of the window of position i.
__device__ __forceinline__ void add_products(const float* stage, const int* windows,
                                             const int (&tap_offset)[warp_taps], int first, int last,
                                             int step, float* sum) {
#pragma unroll 2
  for (int i = first; i < last; i += step) {
    const int window = windows[i];
    float a[warp_channels], b[warp_taps];
#pragma unroll
    for (int r = 0; r < warp_channels; ++r) a[r] = stage[r * threads + i];
#pragma unroll
    for (int j = 0; j < warp_taps; ++j) b[j] = at_bytes(stage, window + tap_offset[j]);
#pragma unroll
    for (int r = 0; r < warp_channels; ++r)
#pragma unroll
      for (int j = 0; j < warp_taps; ++j) sum[r * warp_taps + j] = fmaf(a[r], b[j], sum[r * warp_taps + j]);
  }
}

// Sums over the lanes of the warp, and writes `rows` output channels to p.partial, from `to` on.
__device__ __forceinline__ void write(const Params& p, float* to, int tap, int rows, float* sum) {
  const LaneValues mine = reduce_lanes<warp_channels * warp_taps>(sum);
#pragma unroll
  for (int i = 0; i < lane_sums; ++i) {
    const int r = (mine.first + i) / warp_taps, k = mine.first + i - r * warp_taps;
    if (i < mine.count && r < rows && tap + k < p.columns) to[r * p.columns + k] = sum[i];
  }
}

// A stage of shared memory holds g [warp_channels, threads], where gated its gate, the byte offsets of the
// positions' windows, and the input tile with one more channel, whose elements are all 1, for the bias. A
// lane has every 32nd position of its warp.
template<bool gated>
__global__ void __launch_bounds__(threads, 2) weight_grad(const __grid_constant__ Params p) {
  extern __shared__ float4 shared[];
  const InputTile& in = p.input;
  float* const memory = reinterpret_cast<float*>(shared);
  constexpr int windows_at = g_floats * (gated ? 2 : 1), input_at = windows_at + threads;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, group = static_cast<int>(blockIdx.y),
            channel_taps = in.channel_taps(), image_positions = static_cast<int>(in.by_image_positions.d);
  const unsigned tile = p.by_tap_tiles(blockIdx.x), split = p.by_channel_tiles(tile);
  const int first_tap = static_cast<int>(blockIdx.x - tile * p.by_tap_tiles.d) * p.tap_warps * warp_taps,
            tap = first_tap + (warp & (p.tap_warps - 1)) * warp_taps,
            channel = static_cast<int>(tile - split * p.by_channel_tiles.d) * warp_channels,
            channels_left = p.group_channels - channel;
  const unsigned begin = split * p.block_positions, end = min(begin + p.block_positions, in.positions);
  // The input channels that the block's taps belong to.
  const int in_channel = min(first_tap, in.taps() - 1) / channel_taps,
            in_channels =
                min(first_tap + p.tap_warps * warp_taps - 1, in.taps() - 1) / channel_taps + 1 - in_channel;

  for (int i = thread; i < stages * in.channel_size(); i += threads)
    memory[(i < in.channel_size() ? 0 : p.stage - in.channel_size()) + input_at +
           in_channels * in.channel_size() + i] = 1;
  int tap_offset[warp_taps];  // in bytes, from a window's
#pragma unroll
  for (int j = 0; j < warp_taps; ++j) {
    const int k = tap + j;
    tap_offset[j] =
        4 * (input_at + (k < in.taps() ? in.tap_offset(static_cast<unsigned>(k - in_channel * channel_taps))
                                       : in_channels * in.channel_size()));
  }
  // Starts the asynchronous copy of the positions from `from` on, if there are any.
  const auto copy_stage = [&](unsigned from, float* stage) {
    if (from < end) {
      const unsigned last = min(from + threads, end) - 1;
      reinterpret_cast<int*>(stage)[windows_at + thread] =
          4 * in.window_offset(min(from + threadIdx.x, last), in.first_row(from));
      in.copy_async(stage + input_at, nullptr, group * in.group_channels + in_channel, in_channels, from,
                    last);
      const auto copy_g = [&]<int n>(std::integral_constant<int, n>) {
#pragma unroll 2
        for (int i = thread * n; i < g_floats; i += threads * n) {
          const unsigned q = from + static_cast<unsigned>(i % threads), image = in.by_image_positions(q);
          const bool inside = q <= last && i / threads < channels_left;
          const std::int64_t at = inside ? (static_cast<std::int64_t>(image) * p.channels +
                                            group * p.group_channels + channel + i / threads) *
                                                   image_positions +
                                               (q - image * in.by_image_positions.d)
                                         : 0;
          copy_async<n>(stage + i, p.g + at, inside);
          if (gated) copy_async<n>(stage + g_floats + i, p.gate + at, inside);
        }
      };
      p.copy_width == 4 ? copy_g(std::integral_constant<int, 4>{}) : copy_g(std::integral_constant<int, 1>{});
    }
    ptx::cp_async_commit_group();
  };

  float sum[warp_channels * warp_taps] = {};
  await_data();
  copy_stage(begin, memory);
  int next = 1;
#pragma unroll 1
  for (unsigned from = begin; from < end; from += threads, next ^= 1) {
    copy_stage(from + threads, memory + next * p.stage);
    float* const stage = memory + (next ^ 1) * p.stage;
    ptx::cp_async_wait_group<1>();
    if constexpr (gated) p.copy_width == 4 ? apply_gate<4>(stage) : apply_gate<1>(stage);
    __syncthreads();
    const int positions = static_cast<int>(min(threads, end - from));
    add_products(stage, reinterpret_cast<const int*>(stage) + windows_at, tap_offset,
                 tap >= p.columns ? positions : warp / p.tap_warps * 32 + thread % 32, positions,
                 threads / p.tap_warps, sum);
    __syncthreads();  // the next copy overwrites this stage
  }
  const std::int64_t part = std::int64_t{split} * (warps / p.tap_warps) + warp / p.tap_warps;
  write(p, p.partial + ((part * gridDim.y + group) * p.group_channels + channel) * p.columns + tap, tap,
        channels_left, sum);
}

constexpr int block_elements = 8;  // per block of sum_splits: threads / 8 threads share an element

// Computes element i of the weight's gradient from its definition: what padding made NaN.
__device__ __noinline__ float existing_products(const ExistingProducts<float>& definition, int i) {
  return static_cast<float>(definition.weight_grad(i));
}

// The gradients of the weight and, where there is one, of the bias, from the sums of all splits.
__global__ void __launch_bounds__(threads)
    sum_splits(const float* partial, int splits, int elements, Divider by_columns, int taps, float* weight,
               float* bias, const __grid_constant__ ExistingProducts<float> definition) {
  __shared__ float sums[threads];
  const int thread = static_cast<int>(threadIdx.x),
            i = static_cast<int>(blockIdx.x) * block_elements + thread % block_elements;
  await_previous();
  float sum = 0;
  if (i < elements)
#pragma unroll 8
    for (int s = thread / block_elements; s < splits; s += threads / block_elements)
      sum += partial[static_cast<std::int64_t>(s) * elements + i];
  sums[thread] = sum;
  __syncthreads();
  if (thread >= block_elements || i >= elements) return;
#pragma unroll
  for (int k = block_elements; k < threads; k += block_elements) sum += sums[thread + k];
  const int row = static_cast<int>(by_columns(static_cast<unsigned>(i))),
            k = i - row * static_cast<int>(by_columns.d);
  if (k < taps && sum != sum) sum = existing_products(definition, row * taps + k);
  (k < taps ? weight[row * taps + k] : bias[row]) = sum;
}

}  // namespace

bool implicit_weight_grad(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& g,
                          const Tensor& gate, const Tensor& weight, const Tensor& bias) {
  if (!can_be_implicit(s, x.dtype())) return false;
  Params p{};
  p.input = input_tile(s, x);
  p.input.set_rows(threads);
  p.g = g.raw<float>();
  p.gate = gate.raw<float>();
  p.channels = static_cast<int>(s.out);
  p.group_channels = static_cast<int>(s.group_out());
  p.columns = static_cast<int>(s.taps()) + (bias ? 1 : 0);

  const Properties& chip = properties(x.device());
  const std::int64_t tap_tiles = ceil_div(p.columns, warp_taps), channel_taps = p.input.channel_taps();
  p.tap_warps =
      static_cast<int>(std::min<std::int64_t>(warps, std::bit_ceil(static_cast<std::uint64_t>(tap_tiles))));
  // The most input channels that the taps of a block belong to, and the bias's.
  const std::int64_t in_channels =
      std::min(s.group_in(), (p.tap_warps * warp_taps - 2 + channel_taps) / channel_taps + 1) + 1;
  p.stage = static_cast<int>(
      ceil_div(g_floats * (gate ? 2 : 1) + threads + in_channels * p.input.channel_size(), 4) * 4);
  const std::int64_t shared = stages * p.stage * static_cast<std::int64_t>(sizeof(float));
  if (shared > chip.shared_per_block) return false;

  const std::int64_t channel_tiles = ceil_div(p.group_channels, warp_channels),
                     tap_blocks = ceil_div(tap_tiles, p.tap_warps),
                     tiles = channel_tiles * tap_blocks * s.options.groups, positions = p.input.positions,
                     fewest = ceil_div(positions, lane_positions * threads / p.tap_warps),
                     splits =
                         std::clamp<std::int64_t>(2 * chip.sms / tiles, fewest, ceil_div(positions, threads)),
                     parts = splits * (warps / p.tap_warps);
  p.block_positions = static_cast<unsigned>(ceil_div(positions, 4 * splits) * 4);
  p.copy_width = is_aligned(p.g) && is_aligned(p.gate) && s.output_positions() % 4 == 0 ? 4 : 1;
  p.by_channel_tiles = Divider(static_cast<std::uint32_t>(channel_tiles));
  p.by_tap_tiles = Divider(static_cast<std::uint32_t>(tap_blocks));
  const Tensor partial = empty({parts, s.out, p.columns}, DType::f32, x.device());
  p.partial = partial.raw<float>();
  launch(op,
         {.device = x.device(),
          .grid = dim3(static_cast<unsigned>(splits * channel_tiles * tap_blocks),
                       static_cast<unsigned>(s.options.groups)),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .early = true},
         gate ? weight_grad<true> : weight_grad<false>, p);
  const int elements = static_cast<int>(s.out) * p.columns;
  launch(
      op,
      {.device = x.device(), .grid = blocks_for(elements, block_elements), .block = threads, .early = true},
      sum_splits, static_cast<const float*>(p.partial), static_cast<int>(parts), elements,
      Divider(static_cast<std::uint32_t>(p.columns)), static_cast<int>(s.taps()), weight.raw<float>(),
      bias.raw<float>(), ExistingProducts<float>{s, p.input.x, nullptr, p.g, p.gate});
  return true;
}

}  // namespace bobbin::cuda
