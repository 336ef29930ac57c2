// Implicit GEMM of convolutions: the output, and the gradient of the input. A block computes a tile of output
// channels x output positions; its sums go over the input channels a chunk at a time.
#include <algorithm>

#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/conv/cuda.h"
#include "ops/conv/existing_products.h"
#include "ops/conv/implicit_gemm.cuh"

namespace bobbin::cuda {
namespace {

constexpr int threads = 128;
constexpr int thread_channels = 8;  // output channels of a thread
constexpr int stages = 2;           // chunks in shared memory: one is computed with while the next is copied

struct Params {
  InputTile input;
  const float* weight;
  const float* bias;  // null: none
  float* y;
  int group_channels;                   // output channels of a group
  int weight_out_step, weight_in_step;  // in the weight, from output (input) channel to the next
  std::int64_t weight_group_step;       // and from group to group
  int channels;                         // output channels of an image
  int chunk;                            // input channels in shared memory at a time
  int stage;                            // floats in shared memory for a chunk
  Divider by_channel_tiles;
  bool split_taps;  // warps of the same output channels share positions and divide the taps, or else they
                    // divide the positions
  bool relu;
  bool input_grad;                     // y is the gradient of the convolution's input
  ExistingProducts<float> definition;  // of y
};

// The distance in shared memory, in floats, from the weights of one tap to the next, for this many output
// channels.
constexpr int weight_pitch(int channels) { return channels + 4; }

// Floats of a warp's sums, with `width` output positions per thread.
template<int width>
constexpr int warp_sums = 32 * thread_channels* width;

// The sums of a thread.
template<int width>
using Sums = float[thread_channels][width];

// Adds the products of taps first, first + step, ... before last. The block's stage holds the weights from
// `weights` on for this thread's channels; the tap at offset o is multiplied with the floats at the byte
// offsets window[j] + o.
template<int pitch, int width>
__device__ __forceinline__ void add_products(const float* stage, const float* weights, const int* tap_offsets,
                                             const int (&window)[width], int first, int last, int step,
                                             Sums<width>& sum) {
#pragma unroll 4
  for (int k = first; k < last; k += step) {
    float a[thread_channels], b[width];
    const int offset = tap_offsets[k];
#pragma unroll
    for (int j = 0; j < width; ++j) b[j] = at_bytes(stage, window[j] + offset);
#pragma unroll
    for (int i = 0; i < thread_channels; i += 4)
      *reinterpret_cast<float4*>(a + i) = *reinterpret_cast<const float4*>(weights + k * pitch + i);
#pragma unroll
    for (int i = 0; i < thread_channels; ++i)
#pragma unroll
      for (int j = 0; j < width; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
  }
}

// Where warps divide the taps: adds the sums of all columns of warps, in order, to those of the first.
template<int column_warps, int width>
__device__ __forceinline__ void add_columns(float* shared, int warp_column, Sums<width>& sum) {
#pragma unroll 1
  for (int from = 1; from < column_warps; ++from) {
    if (warp_column == from)
#pragma unroll
      for (int i = 0; i < thread_channels * width; ++i) shared[i * 32] = sum[i / width][i % width];
    __syncthreads();
    if (warp_column == 0)
#pragma unroll
      for (int i = 0; i < thread_channels * width; ++i) sum[i / width][i % width] += shared[i * 32];
    __syncthreads();
  }
}

// Computes y at `to` from its definition: what padding made NaN.
__device__ __noinline__ float existing_products(const Params& p, const float* to, float bias) {
  const std::int64_t i = to - p.y;
  const float v = static_cast<float>(p.input_grad ? p.definition.input(i) : p.definition.output(i)) + bias;
  return p.relu && v < 0 ? 0 : v;
}

// The epilogue: adds the bias, applies relu, and writes output channels from c on at a thread's positions.
template<int width>
__device__ __forceinline__ void write(const Params& p, int group, int c, unsigned position, unsigned last,
                                      const Sums<width>& sum) {
  const unsigned image_positions = p.input.by_image_positions.d;
  const auto address = [&](unsigned q) {
    const unsigned image = p.input.by_image_positions(q);
    return p.y +
           (static_cast<std::int64_t>(image) * p.channels + group * p.group_channels + c) * image_positions +
           (q - image * image_positions);
  };
  bool any_nan = false;
#pragma unroll
  for (int j = 0; j < width; ++j) {
    const unsigned q = position + 32 * j;
    if (q > last) break;
    float* const to = address(q);
#pragma unroll
    for (int i = 0; i < thread_channels; ++i) {
      if (c + i >= p.group_channels) break;
      float v = sum[i][j] + (p.bias ? p.bias[group * p.group_channels + c + i] : 0);
      if (p.relu) v = v < 0 ? 0 : v;  // NaN stays
      to[static_cast<std::int64_t>(i) * image_positions] = v;
      any_nan |= v != v;
    }
  }
  if (!any_nan) return;
#pragma unroll 1
  for (unsigned q = position; q < position + 32 * width && q <= last; q += 32)
#pragma unroll 1
    for (int i = 0; i < min(thread_channels, p.group_channels - c); ++i)
      if (float* const to = address(q) + static_cast<std::int64_t>(i) * image_positions; *to != *to)
        *to = existing_products(p, to, p.bias ? p.bias[group * p.group_channels + c + i] : 0);
}

// A block's warps are arranged as channel_warps rows with different output channels and column_warps columns
// with different positions or taps; a thread computes thread_channels x width sums. Shared memory holds the
// stages, each with the weights, the input tile and, where gated, the gate's tile; then, for each tap, its
// offset in the input tile (in bytes) and in the weight.
template<int channel_warps, int width, bool gated>
__global__ void __launch_bounds__(threads, width == 4 ? 6 : 4)
    implicit_gemm(const __grid_constant__ Params p) {
  constexpr int channels = thread_channels * channel_warps, column_warps = threads / 32 / channel_warps,
                pitch = weight_pitch(channels);
  extern __shared__ float4 shared[];
  const InputTile& in = p.input;
  const int channel_taps = in.channel_taps(), taps = p.chunk * channel_taps,
            thread = static_cast<int>(threadIdx.x), warp_row = thread / 32 % channel_warps,
            warp_column = thread / 32 / channel_warps, group = static_cast<int>(blockIdx.y),
            positions = p.split_taps ? 32 * width : 32 * width * column_warps;
  float* const memory = reinterpret_cast<float*>(shared);
  const int input_at = taps * pitch, gate_at = input_at + p.chunk * in.channel_size();
  int* const tap_offsets = reinterpret_cast<int*>(memory + stages * p.stage);
  int* const weight_offsets = tap_offsets + taps;

  const unsigned tile = p.by_channel_tiles(blockIdx.x), first = tile * positions,
                 last = min(first + positions, in.positions) - 1,
                 position = first + threadIdx.x % 32 +
                            static_cast<unsigned>(p.split_taps ? 0 : warp_column * 32 * width);
  const int channel = static_cast<int>(blockIdx.x - tile * p.by_channel_tiles.d) * channels,
            channels_left = p.group_channels - channel;
  const float* const weight =
      p.weight + group * p.weight_group_step + static_cast<std::int64_t>(channel) * p.weight_out_step;
  int window[width];  // byte offsets in a stage of the windows of the thread's positions
#pragma unroll
  for (int j = 0; j < width; ++j)
    window[j] = 4 * (input_at + in.window_offset(min(position + 32 * j, last), in.first_row(first)));
  for (int k = thread; k < taps; k += threads) {
    const int c = static_cast<int>(in.by_channel_taps(static_cast<unsigned>(k)));
    tap_offsets[k] = 4 * in.tap_offset(static_cast<unsigned>(k));
    weight_offsets[k] = c * p.weight_in_step + k - c * channel_taps;
  }
  // Starts the asynchronous copy of the chunk of input channels from `from` on, if there is one.
  const auto copy_chunk = [&](int from, float* stage) {
    const int count = min(in.group_channels - from, p.chunk);
    if (count > 0) {
      in.copy_async(stage + input_at, gated ? stage + gate_at : nullptr, group * in.group_channels + from,
                    count, first, last);
      constexpr int thread_weights = 8, tap_threads = channels / thread_weights;
      for (int i = thread; i < count * channel_taps * tap_threads; i += threads) {
        const int k = i / tap_threads, c = i % tap_threads * thread_weights;
        const float* tap_weights = weight + from * p.weight_in_step + weight_offsets[k];
#pragma unroll
        for (int j = c; j < c + thread_weights; ++j)
          ptx::cp_async_ca_4(stage + k * pitch + j,
                             tap_weights + (j < channels_left ? j * p.weight_out_step : 0),
                             j < channels_left);
      }
    }
    ptx::cp_async_commit_group();
  };

  await_data();
  __syncthreads();
  copy_chunk(0, memory);
  Sums<width> sum = {};
  int next = 1;
#pragma unroll 1
  for (int from = 0; from < in.group_channels; from += p.chunk, next ^= 1) {
    copy_chunk(from + p.chunk, memory + next * p.stage);
    float* const stage = memory + (next ^ 1) * p.stage;
    const int count = min(in.group_channels - from, p.chunk);
    ptx::cp_async_wait_group<1>();
    if constexpr (gated) in.apply_gate(stage + input_at, stage + gate_at, count, first, last);
    __syncthreads();
    add_products<pitch>(stage, stage + warp_row * thread_channels, tap_offsets, window,
                        p.split_taps ? warp_column : 0, count * channel_taps, p.split_taps ? column_warps : 1,
                        sum);
    __syncthreads();  // the next copy overwrites this stage
  }
  if (column_warps > 1 && p.split_taps) {
    add_columns<column_warps>(memory + warp_row * warp_sums<width> + thread % 32, warp_column, sum);
    if (warp_column > 0) return;
  }
  write<width>(p, group, channel + warp_row * thread_channels, position, last, sum);
}

// A size of tiles, with its kernels.
struct Variant {
  int channels;      // output channels of a block
  int column_warps;  // warps of a block that compute the same channels
  int positions;     // output positions of a warp
  int sums;          // floats of shared memory that add_columns() takes
  void (*kernel)(Params);
  void (*gated_kernel)(Params);
};
template<int channel_warps, int width>
constexpr Variant variant() {
  return {thread_channels * channel_warps,
          threads / 32 / channel_warps,
          32 * width,
          channel_warps * warp_sums<width>,
          implicit_gemm<channel_warps, width, false>,
          implicit_gemm<channel_warps, width, true>};
}
// For up to 8, up to 16 and more output channels of a group; for many output positions and for few.
const Variant variants[3][2] = {{variant<1, 8>(), variant<1, 4>()},
                                {variant<2, 8>(), variant<2, 4>()},
                                {variant<4, 8>(), variant<4, 4>()}};

constexpr std::int64_t stage_floats = 6144;  // the size of a chunk, unless one channel is larger

// y = relu(the convolution of `input` + bias); weight_out_step, weight_in_step and input_grad as in Params.
bool run(std::string_view op, const ConvShape& s, const InputTile& input, const Tensor& weight,
         std::int64_t weight_out_step, std::int64_t weight_in_step, const Tensor& bias, bool relu,
         bool input_grad, const Tensor& y) {
  Params p{};
  p.input_grad = input_grad;
  p.definition = {s, input.x, weight.raw<float>(), input.x, input.gate};
  p.input = input;
  p.weight = weight.raw<float>();
  p.bias = bias.raw<float>();
  p.y = y.raw<float>();
  p.channels = static_cast<int>(y.size(1));
  p.group_channels = static_cast<int>(y.size(1) / s.options.groups);
  p.weight_out_step = static_cast<int>(weight_out_step);
  p.weight_in_step = static_cast<int>(weight_in_step);
  p.weight_group_step = s.group_out() * s.taps();
  p.relu = relu;

  // Takes the first of three that has two blocks for each multiprocessor, or else the last: large tiles,
  // large tiles with divided taps, small tiles with divided taps.
  const Properties& chip = properties(y.device());
  const auto& fitting = variants[p.group_channels <= 8 ? 0 : p.group_channels <= 16 ? 1 : 2];
  std::int64_t tiles = 0;
  const auto fills_device = [&](const Variant& v, bool split_taps) {
    const int positions = v.positions * (split_taps ? 1 : v.column_warps);
    p.split_taps = split_taps;
    p.input.set_rows(positions);
    p.by_channel_tiles = Divider(static_cast<std::uint32_t>(ceil_div(p.group_channels, v.channels)));
    tiles = ceil_div(p.input.positions, positions) * p.by_channel_tiles.d;
    return tiles * s.options.groups >= 2 * chip.sms;
  };
  const bool small_tiles = !fills_device(fitting[0], false) && !fills_device(fitting[0], true);
  if (small_tiles) fills_device(fitting[1], true);
  const Variant& v = fitting[small_tiles];

  const std::int64_t channel_taps = p.input.channel_taps(),
                     channel_floats = p.input.channel_size() * (p.input.gate ? 2 : 1) +
                                      channel_taps * weight_pitch(v.channels),
                     chunks = ceil_div(p.input.group_channels,
                                       std::max<std::int64_t>(1, stage_floats / channel_floats));
  p.chunk = static_cast<int>(ceil_div(p.input.group_channels, chunks));
  p.stage = static_cast<int>(ceil_div(p.chunk * channel_floats, 4) * 4);
  const std::int64_t shared =
      std::max<std::int64_t>(p.split_taps ? v.sums : 0, stages * p.stage + 2 * p.chunk * channel_taps) *
      static_cast<std::int64_t>(sizeof(float));
  if (shared > chip.shared_per_block) return false;
  launch(op,
         {.device = y.device(),
          .grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(s.options.groups)),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .early = true},
         p.input.gate ? v.gated_kernel : v.kernel, p);
  return true;
}

}  // namespace

bool implicit_forward(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& weight,
                      const Tensor& bias, bool relu, const Tensor& y) {
  return can_be_implicit(s, y.dtype()) &&
         run(op, s, input_tile(s, x), weight, s.taps(), s.kh * s.kw, bias, relu, false, y);
}

bool implicit_input_grad(std::string_view op, const ConvShape& s, const Tensor& g, const Tensor& gate,
                         const Tensor& weight, const Tensor& bias, const Tensor& x) {
  return s.options.stride == Pair(1) && can_be_implicit(s, x.dtype()) &&
         run(op, s, output_grad_tile(s, g, gate), weight, s.kh * s.kw, s.taps(), bias, false, true, x);
}

}  // namespace bobbin::cuda
