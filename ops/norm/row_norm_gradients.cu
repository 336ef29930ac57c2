// The derivative of layer norm and RMS norm for weight and bias on a GPU, and in the same pass that for x.
// Each team of threads adds the terms of its rows, and a second kernel adds the sums of the teams in a fixed
// order.
#include "core/cuda/runtime.h"
#include "ops/check.h"
#include "ops/cuda/rows/warp_reduce.cuh"
#include "ops/norm/row_norm.cuh"
#include "ops/norm/row_norm_gradient.cuh"

namespace bobbin::cuda {
namespace {

constexpr int most_threads = 512, rows_of_a_sum = 512;
constexpr int bound_threads = 768;  // leaves registers for three blocks of 256 threads

template<class T>
struct Gradients {
  using C = Compute<T>;
  const T *x, *g, *weight;
  const RowStatistics<C>* kept;
  T* x_grad;
  C* parts;  // [teams, 2, columns]: sums of g times the normalised x, and of g
  std::int64_t rows;
  std::int64_t columns;
  RowGradient<C> gradient;
};

/// Packs of each input that a thread holds, at most: its sums take two registers for each element.
template<class T>
constexpr int most_packs = sizeof(T) == 2 ? 2 : 4;

/// blockDim.x threads, whole warps, are a team, which takes every row whose number is its own modulo the
/// number of teams. Where a team is more than a warp, it is a block. A thread has P packs of a row in shared
/// memory, and copies those of its next row to a second buffer meanwhile.
template<class T, int P>
__global__ void __launch_bounds__(bound_threads) all_gradients(const Gradients<T> a) {
  using C = Compute<T>;
  constexpr int E = per_pack<T>;
  const int threads = static_cast<int>(blockDim.x * blockDim.y), warps = static_cast<int>(blockDim.x) / 32;
  const std::int64_t team = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y,
                     teams = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  // Pack i of x is at own[2 i threads], that of g follows; the second buffer follows all of these.
  uint4* own = shared_packs() + threadIdx.y * blockDim.x + threadIdx.x;
  C* const exchange = reinterpret_cast<C*>(shared_packs() + 4 * P * threads);
  const auto column = [&](int i) {
    return static_cast<int>(threadIdx.x + static_cast<unsigned>(i) * blockDim.x) * E;
  };
  const auto has = [&](int i) { return column(i) < a.columns; };
  const auto start = [&](std::int64_t r, uint4* to) {
#pragma unroll
    for (int i = 0; i < P; ++i)
      if (has(i)) {
        const std::int64_t at = r * a.columns + column(i);
        copy_pack(to + 2 * i * threads, a.x + at);
        copy_pack(to + (2 * i + 1) * threads, a.g + at);
      }
  };
  // Normalised elements, cotangents and weights of pack i; `apart` is `threads`.
  const auto load = [&](int i, int apart, const RowStatistics<C>& s, C(&n)[E], C(&h)[E], C(&w)[E]) {
    unpack<T>(own[2 * i * apart], n);
    unpack<T>(own[(2 * i + 1) * apart], h);
#pragma unroll
    for (int e = 0; e < E; ++e) {
      n[e] = s.normal(n[e]);
      w[e] = 1;
    }
    if (a.weight) unpack<T>(*reinterpret_cast<const uint4*>(a.weight + column(i)), w);
  };

  C with_x[P][E] = {}, alone[P][E] = {};
  RowStatistics<C> s{}, next{};
  if (team < a.rows) {
    start(team, own);
    next = a.kept[team];
  }
  bool second = false;  // buffer
  for (std::int64_t r = team; r < a.rows; r += teams) {
    s = next;
    await_copies();
    if (r + teams < a.rows) {
      start(r + teams, own + (second ? -2 : 2) * P * threads);
      next = a.kept[r + teams];
    }
    C sums[2] = {};
#pragma unroll
    for (int i = 0; i < P; ++i)
      if (has(i)) {
        C n[E], h[E], w[E];
        load(i, threads, s, n, h, w);
#pragma unroll
        for (int e = 0; e < E; ++e) {
          a.gradient.add(n[e], h[e] * w[e], sums);
          with_x[i][e] += h[e] * n[e];
          alone[i][e] += h[e];
        }
      }
    warp_sums(sums, 32);
    if (warps > 1) {
      C* const by_warp = exchange + second * 2 * warps;  // two buffers: a warp may be a row ahead
      if (threadIdx.x % 32 == 0) {
        by_warp[threadIdx.x / 32 * 2] = sums[0];
        by_warp[threadIdx.x / 32 * 2 + 1] = sums[1];
      }
      __syncthreads();
      sums[0] = sums[1] = 0;
      for (int k = 0; k < warps; ++k) {
        sums[0] += by_warp[2 * k];
        sums[1] += by_warp[2 * k + 1];
      }
    }
    const auto means = a.gradient.means(sums);
    // Read anew, so that the compiler does not keep the packs in registers.
    const int apart = ptx::ntid_x() * static_cast<int>(blockDim.y);
#pragma unroll
    for (int i = 0; i < P; ++i)
      if (has(i)) {
        C n[E], h[E], w[E];
        load(i, apart, s, n, h, w);
#pragma unroll
        for (int e = 0; e < E; ++e) n[e] = means.gradient(s, n[e], h[e] * w[e]);
        store_pack(a.x_grad + r * a.columns + column(i), pack<T>(n));
      }
    own += (second ? -2 : 2) * P * threads;
    second = !second;
  }
#pragma unroll
  for (int i = 0; i < P; ++i)
    if (has(i))
#pragma unroll
      for (int e = 0; e < E; ++e) {
        C* const to = a.parts + 2 * team * a.columns + column(i) + e;
        to[0] = with_x[i][e];
        to[a.columns] = alone[i][e];
      }
}

constexpr int width = 32, height = 8, lanes_of_a_sum = 32;

/// The sums over rows of any length and alignment: block (c, k) adds `per` rows of 32 columns.
template<class T>
__global__ void __launch_bounds__(width* height) column_sums(const Gradients<T> a, const std::int64_t per) {
  using C = Compute<T>;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * width + threadIdx.x,
                     end = smaller(a.rows, (blockIdx.y + 1) * per);
  C with_x = 0, alone = 0;
  if (column < a.columns)
#pragma unroll 4
    for (std::int64_t r = blockIdx.y * per + threadIdx.y; r < end; r += height) {
      const C h = widen(a.g[r * a.columns + column]);
      with_x += h * a.kept[r].normal(widen(a.x[r * a.columns + column]));
      alone += h;
    }
  __shared__ C sums[2][height][width];
  sums[0][threadIdx.y][threadIdx.x] = with_x;
  sums[1][threadIdx.y][threadIdx.x] = alone;
  __syncthreads();
  if (threadIdx.y > 1 || column >= a.columns) return;
  double total = 0;
  for (int k = 0; k < height; ++k) total += static_cast<double>(sums[threadIdx.y][k][threadIdx.x]);
  a.parts[(2 * static_cast<std::int64_t>(blockIdx.y) + threadIdx.y) * a.columns + column] =
      static_cast<C>(total);
}

/// Adds the parts of all teams. Row 0 of the grid writes the gradient of weight, row 1 that of bias.
template<class T>
__global__ void __launch_bounds__(width* lanes_of_a_sum)
    add_parts(const Compute<T>* parts, std::int64_t teams, std::int64_t columns, T* of_weight, T* of_bias) {
  T* const to = blockIdx.y == 0 ? of_weight : of_bias;
  if (!to) return;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * width + threadIdx.x;
  double sum = 0;
  if (column < columns)
#pragma unroll 4
    for (std::int64_t t = threadIdx.y; t < teams; t += lanes_of_a_sum)
      sum += static_cast<double>(parts[(2 * t + blockIdx.y) * columns + column]);
  __shared__ double sums[lanes_of_a_sum][width];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= columns) return;
  for (int k = 1; k < lanes_of_a_sum; ++k) sum += sums[k][threadIdx.x];
  to[column] = narrow<T>(static_cast<Compute<T>>(sum));
}

template<class T>
using Kernel = void (*)(Gradients<T>);
template<class T>
Kernel<T> kernel_for(std::int64_t packs_of_a_thread) {
  if (packs_of_a_thread <= 1) return all_gradients<T, 1>;
  if (packs_of_a_thread <= 2) return all_gradients<T, 2>;
  if constexpr (most_packs < T >> 2) return all_gradients<T, 4>;
  return nullptr;
}

/// The sums of the teams. Computes them with all_gradients where that takes rows of this length, and says so.
template<class T>
Tensor parts_of(const RowNormCall& c, Gradients<T> a, bool& all) {
  const std::int64_t n = c.layout.length, packs = n / per_pack<T>, rows = a.rows;
  const Device device = c.x.device();
  const Properties& chip = properties(device);
  const auto parts_for = [&](std::int64_t teams) {
    const Tensor parts = empty({teams, 2, n}, dtype_of<Compute<T>>(), device);
    a.parts = parts.raw<Compute<T>>();
    return parts;
  };
  std::int64_t held = 1;
  while (held < most_packs<T> && 32 * held < packs) held *= 2;
  const std::int64_t of_row = 32 * ceil_div(packs, 32 * held), rows_at_once = of_row == 32 ? 8 : 1;
  const auto threads = static_cast<int>(of_row * rows_at_once);
  const std::size_t shared = static_cast<std::size_t>(threads * 4 * held) * 16 +
                             4 * sizeof(Compute<T>) * static_cast<std::size_t>(of_row / 32);
  all = c.x_grad && n % per_pack<T> == 0 && packs >= 16 && of_row <= most_threads && is_aligned(a.x) &&
        is_aligned(a.g) && is_aligned(a.weight) && static_cast<std::int64_t>(shared) <= chip.shared_per_block;
  if (all) {
    const Kernel<T> kernel = kernel_for<T>(held);
    int resident = 0;  // blocks of a multiprocessor
    {
      const DeviceGuard guard(device);
      const auto* const code = reinterpret_cast<const void*>(kernel);
      check(cudaFuncSetAttribute(code, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(chip.shared_per_block)),
            c.name);
      check(cudaFuncSetAttribute(code, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared),
            c.name);
      check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, shared), c.name);
    }
    const std::int64_t enough = std::max<std::int64_t>(std::int64_t{resident} * chip.sms,
                                                       ceil_div(rows, rows_of_a_sum * rows_at_once)),
                       grid = std::min(ceil_div(rows, rows_at_once), enough);
    const Tensor parts = parts_for(grid * rows_at_once);
    launch(c.name,
           {device, dim3(static_cast<unsigned>(grid)),
            dim3(static_cast<unsigned>(of_row), static_cast<unsigned>(rows_at_once)), shared},
           kernel, a);
    return parts;
  }
  const std::int64_t across = ceil_div(n, width);
  std::int64_t per = std::clamp<std::int64_t>(ceil_div(rows * across, 8 * chip.sms), 64,
                                              std::int64_t{rows_of_a_sum} * height);
  per = std::max(per, ceil_div(rows, 65535));
  const std::int64_t blocks = ceil_div(rows, per);
  const Tensor parts = parts_for(blocks);
  launch(c.name,
         {device, dim3(static_cast<unsigned>(across), static_cast<unsigned>(blocks)), dim3(width, height)},
         column_sums<T>, a, per);
  return parts;
}

}  // namespace

template<class T>
bool weight_gradients(const RowNormCall& c) {
  using C = Compute<T>;
  bool all = false;
  const Tensor parts = parts_of<T>(
      c,
      {c.x.raw<T>(), c.g.raw<T>(), c.weight.raw<T>(), c.statistics.raw<RowStatistics<C>>(), c.x_grad.raw<T>(),
       nullptr, c.rows(), c.layout.length, RowGradient<C>(c.layout.length, c.centred)},
      all);
  launch(c.name,
         {c.x.device(), dim3(static_cast<unsigned>(ceil_div(c.layout.length, width)), 2),
          dim3(width, lanes_of_a_sum)},
         add_parts<T>, parts.raw<C>(), parts.size(0), c.layout.length, c.weight_grad.raw<T>(),
         c.bias_grad.raw<T>());
  return all;
}

template bool weight_gradients<double>(const RowNormCall&);
template bool weight_gradients<float>(const RowNormCall&);
template bool weight_gradients<BFloat16>(const RowNormCall&);
template bool weight_gradients<Half>(const RowNormCall&);

}  // namespace bobbin::cuda
