// Results and gradients of images without a matrix of columns: a block adds up some channels of some places,
// over a few channels of what they read at a time.
#include <algorithm>

#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"
#include "ops/conv/cuda.h"
#include "ops/conv/windows.cuh"

namespace bobbin::cuda {
namespace {

constexpr int threads = 128;
constexpr int rows = 8;    // channels of a thread
constexpr int stages = 2;  // channels that are on their way, or in use

struct WindowSums {
  Windows windows;
  const float* weight;
  const float* bias;  // null: none
  float* y;
  int channels;        // of a group of y
  int weight_channel;  // from one of them to the next in the weight
  int tap_channel;     // and from a channel that is read to the next
  std::int64_t weight_group;
  int of_image;  // channels of an image of y
  int chunk;     // channels that are read at a time
  int stage;     // floats in shared memory that they take
  Divider by_parts;
  bool share_taps;  // warps that have the same channels also have the same places
  bool relu;
};

// From tap to tap of the weights of so many channels.
constexpr int pitch_of(int height) { return height + 4; }

// A warp's sums in shared memory.
template<int each>
constexpr int sums_floats = 32 * rows* each;

// `down` warps take `rows` channels each, of the same places: `each` a thread. The others of a block take
// other places, or other taps.
template<int down, int each, bool gated>
__global__ void __launch_bounds__(threads, each == 4 ? 6 : 4)
    window_sums(const __grid_constant__ WindowSums p) {
  constexpr int height = rows * down, others = threads / 32 / down, pitch = pitch_of(height);
  extern __shared__ float4 memory[];
  const Windows& x = p.windows;
  const int of_channel = x.of_channel(), taps = p.chunk * of_channel, thread = static_cast<int>(threadIdx.x),
            mine = thread / 32 % down, other = thread / 32 / down, group = static_cast<int>(blockIdx.y),
            tile = p.share_taps ? 32 * each : 32 * each * others;
  float* const weights = reinterpret_cast<float*>(memory);  // then pixels, then the gate's
  const int pixels_at = taps * pitch, gate_at = pixels_at + p.chunk * x.plane();
  int* const offsets = reinterpret_cast<int*>(weights + stages * p.stage);
  int* const in_weight = offsets + taps;

  const unsigned n = p.by_parts(blockIdx.x), first = n * tile, last = min(first + tile, x.places) - 1,
                 place =
                     first + threadIdx.x % 32 + static_cast<unsigned>(p.share_taps ? 0 : other * 32 * each);
  const int channel = static_cast<int>(blockIdx.x - n * p.by_parts.d) * height, left = p.channels - channel;
  const float* const weight =
      p.weight + group * p.weight_group + static_cast<std::int64_t>(channel) * p.weight_channel;
  int window[each];  // and offsets of taps, in bytes
#pragma unroll
  for (int j = 0; j < each; ++j)
    window[j] = 4 * (pixels_at + x.start(min(place + 32 * j, last), x.first_line(first)));
  for (int k = thread; k < taps; k += threads) {
    const int c = static_cast<int>(x.by_taps(static_cast<unsigned>(k)));
    offsets[k] = 4 * x.offset(static_cast<unsigned>(k));
    in_weight[k] = c * p.tap_channel + k - c * of_channel;
  }
  const auto fetch = [&](int from, float* to) {
    const int count = min(x.in_group - from, p.chunk);
    if (count > 0) {
      x.fetch(to + pixels_at, gated ? to + gate_at : nullptr, group * x.in_group + from, count, first, last);
      constexpr int of_thread = 8, in_tap = height / of_thread;
      for (int i = thread; i < count * of_channel * in_tap; i += threads) {
        const int k = i / in_tap, m = i % in_tap * of_thread;
        const float* of_tap = weight + from * p.tap_channel + in_weight[k];
#pragma unroll
        for (int j = m; j < m + of_thread; ++j)
          small::copy_async<1>(to + k * pitch + j, of_tap + (j < left ? j * p.weight_channel : 0), j < left);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };

  await_data();
  __syncthreads();
  fetch(0, weights);
  float sum[rows][each] = {};
  int next = 1;
#pragma unroll 1
  for (int from = 0; from < x.in_group; from += p.chunk, next ^= 1) {
    fetch(from + p.chunk, weights + next * p.stage);
    float* const now = weights + (next ^ 1) * p.stage;
    const int count = min(x.in_group - from, p.chunk);
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    if constexpr (gated) x.apply_gate(now + pixels_at, now + gate_at, count, first, last);
    __syncthreads();
    const float* const to_mine = now + mine * rows;
#pragma unroll 4
    for (int k = p.share_taps ? other : 0; k < count * of_channel; k += p.share_taps ? others : 1) {
      float a[rows], b[each];
      const int offset = offsets[k];
#pragma unroll
      for (int j = 0; j < each; ++j) b[j] = at_bytes(now, window[j] + offset);
#pragma unroll
      for (int i = 0; i < rows; i += 4)
        *reinterpret_cast<float4*>(a + i) = *reinterpret_cast<const float4*>(to_mine + k * pitch + i);
#pragma unroll
      for (int i = 0; i < rows; ++i)
#pragma unroll
        for (int j = 0; j < each; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
    }
    __syncthreads();  // all have used what is overwritten next
  }

  if (others > 1 && p.share_taps) {
    float* const sums = weights + mine * sums_floats<each> + thread % 32;
#pragma unroll 1
    for (int from = 1; from < others; ++from) {
      if (other == from)
#pragma unroll
        for (int i = 0; i < rows * each; ++i) sums[i * 32] = sum[i / each][i % each];
      __syncthreads();
      if (other == 0)
#pragma unroll
        for (int i = 0; i < rows * each; ++i) sum[i / each][i % each] += sums[i * 32];
      __syncthreads();
    }
    if (other > 0) return;
  }

  const unsigned of_image = x.by_places.d;
  const int c = channel + mine * rows;
#pragma unroll
  for (int j = 0; j < each; ++j) {
    const unsigned q = place + 32 * j, image = x.by_places(q);
    if (q > last) break;
    float* const to = p.y +
                      (static_cast<std::int64_t>(image) * p.of_image + group * p.channels + c) * of_image +
                      (q - image * of_image);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      if (c + i >= p.channels) break;
      float v = sum[i][j] + (p.bias ? p.bias[group * p.channels + c + i] : 0);
      if (p.relu) v = v < 0 ? 0 : v;  // NaN stays
      to[static_cast<std::int64_t>(i) * of_image] = v;
    }
  }
}

// A block's channels, its places and its kernels.
struct TileShape {
  int height;
  int others;  // warps that have the same channels
  int places;  // of a warp
  int sums;    // floats, of warps of other channels
  void (*kernel)(WindowSums);
  void (*gated)(WindowSums);
};
template<int down, int each>
constexpr TileShape tile_shape() {
  return {rows * down,
          threads / 32 / down,
          32 * each,
          down * sums_floats<each>,
          window_sums<down, each, false>,
          window_sums<down, each, true>};
}
// For up to 8, up to 16 and more channels; for many places and for few.
const TileShape shapes[3][2] = {{tile_shape<1, 8>(), tile_shape<1, 4>()},
                                {tile_shape<2, 8>(), tile_shape<2, 4>()},
                                {tile_shape<4, 8>(), tile_shape<4, 4>()}};

constexpr std::int64_t stage_floats = 6144;  // that a block takes if it can

bool run(std::string_view op, const ConvShape& s, WindowSums& p, const Tensor& bias, const Tensor& y) {
  p.bias = bias.raw<float>();
  p.y = y.raw<float>();
  p.of_image = static_cast<int>(y.size(1));
  const Properties& chip = properties(y.device());
  // The first way that has work for all multiprocessors, or the last.
  const auto& fitting = shapes[p.channels <= rows ? 0 : p.channels <= 2 * rows ? 1 : 2];
  std::int64_t tiles = 0;
  const auto fills = [&](const TileShape& t, bool share_taps) {
    p.share_taps = share_taps;
    p.windows.hold(t.places * (share_taps ? 1 : t.others));
    p.by_parts = Divider(static_cast<std::uint32_t>(ceil_div(p.channels, t.height)));
    tiles = ceil_div(p.windows.places, t.places * (share_taps ? 1 : t.others)) * p.by_parts.d;
    return tiles * s.options.groups >= 2 * chip.sms;
  };
  const bool few = !fills(fitting[0], false) && !fills(fitting[0], true);
  if (few) fills(fitting[1], true);
  const TileShape& shape = fitting[few];
  const std::int64_t of_channel = p.windows.of_channel(),
                     floats =
                         p.windows.plane() * (p.windows.gate ? 2 : 1) + of_channel * pitch_of(shape.height);
  const std::int64_t chunks = ceil_div(p.windows.in_group, std::max<std::int64_t>(1, stage_floats / floats));
  p.chunk = static_cast<int>(ceil_div(p.windows.in_group, chunks));
  p.stage = static_cast<int>(ceil_div(p.chunk * floats, 4) * 4);
  const std::int64_t shared =
      std::max<std::int64_t>(p.share_taps ? shape.sums : 0, stages * p.stage + 2 * p.chunk * of_channel) *
      static_cast<std::int64_t>(sizeof(float));
  if (shared > chip.shared_per_block) return false;
  launch(op,
         {.device = y.device(),
          .grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(s.options.groups)),
          .block = threads,
          .shared = static_cast<std::size_t>(shared),
          .early = true},
         p.windows.gate ? shape.gated : shape.kernel, p);
  return true;
}

}  // namespace

bool implicit_forward(std::string_view op, const ConvShape& s, const Tensor& x, const Tensor& weight,
                      const Tensor& bias, bool relu, const Tensor& y) {
  if (!can_be_implicit(s, y.dtype())) return false;
  WindowSums p{};
  p.windows = windows_of_x(s, x);
  p.weight = weight.raw<float>();
  p.channels = static_cast<int>(s.group_out());
  p.weight_channel = static_cast<int>(s.taps());
  p.tap_channel = static_cast<int>(s.kh * s.kw);
  p.weight_group = s.group_out() * s.taps();
  p.relu = relu;
  return run(op, s, p, bias, y);
}

bool implicit_input_grad(std::string_view op, const ConvShape& s, const Tensor& g, const Tensor& gate,
                         const Tensor& weight, const Tensor& bias, const Tensor& x) {
  if (s.options.stride != Pair(1) || !can_be_implicit(s, x.dtype())) return false;
  WindowSums p{};
  p.windows = windows_of_gradient(s, g, gate);
  p.weight = weight.raw<float>();
  p.channels = static_cast<int>(s.group_in());
  p.weight_channel = static_cast<int>(s.kh * s.kw);
  p.tap_channel = static_cast<int>(s.taps());
  p.weight_group = s.group_out() * s.taps();
  return run(op, s, p, bias, x);
}

}  // namespace bobbin::cuda
