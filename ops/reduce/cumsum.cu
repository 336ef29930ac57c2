// cumsum on a GPU, in f64 or i64. A group of threads scans a slice whose elements are contiguous; one thread
// scans any other slice. Few long slices are cut into chunks and scanned in three passes: the sum of each
// chunk, a scan of these sums, and a scan of each chunk that begins with the sum of the chunks before it.
#include <algorithm>
#include <bit>

#include "core/ceil_div.h"
#include "core/cuda/runtime.h"
#include "ops/reduce/cumsum.h"
#include "ops/reduce/stored.cuh"

namespace bobbin {
namespace {

constexpr int threads = 256;

/// Slices of n elements, which are `inner` apart.
template<class Total>
struct Scan {
  const void* x;
  void* y;
  DType x_dtype, y_dtype;
  std::int64_t slices, n, inner;
  bool reverse;
  std::int64_t chunks, chunk;  // of a slice; elements of a chunk
  Total* totals;               // [slices, chunks]; null where a slice is one chunk
  bool first_pass;             // writes the sum of each chunk to totals, and nothing to y

  // Offset of a slice.
  __device__ std::int64_t begin(std::int64_t slice) const {
    return slice / inner * n * inner + slice % inner;
  }
  // Offset in a slice of the element that is scanned as number i.
  __device__ std::int64_t offset(std::int64_t i) const { return (reverse ? n - 1 - i : i) * inner; }
  // The sum of the chunks before chunk c.
  __device__ Total before(std::int64_t slice, std::int64_t c) const {
    return totals && !first_pass && c > 0 ? totals[slice * chunks + c - 1] : 0;
  }
};

// Loads the elements at these offsets that are there, converted.
template<class Total, int items>
__device__ __forceinline__ void load(const Scan<Total>& s, const std::int64_t (&at)[items],
                                     const bool (&there)[items], Total (&v)[items]) {
  cuda::visit_stored<Total>(s.x_dtype, [&]<class T>(Type<T>) {
    T raw[items] = {};
#pragma unroll
    for (int i = 0; i < items; ++i)
      if (there[i]) raw[i] = static_cast<const T*>(s.x)[at[i]];
#pragma unroll
    for (int i = 0; i < items; ++i) v[i] = static_cast<Total>(cuda::widen<T>(raw[i]));
  });
}
template<class Total, int items>
__device__ __forceinline__ void store(const Scan<Total>& s, const std::int64_t (&at)[items],
                                      const bool (&there)[items], const Total (&v)[items]) {
  cuda::visit_stored<Total>(s.y_dtype, [&]<class T>(Type<T>) {
#pragma unroll
    for (int i = 0; i < items; ++i)
      if (there[i]) static_cast<T*>(s.y)[at[i]] = cuda::stored<T>(v[i]);
  });
}

// Replaces v by its inclusive scan over a group of `width` lanes: v[0] of each lane, then v[1] of each, and
// so on. Returns the sum.
template<class Total, int items>
__device__ __forceinline__ Total warp_scan(Total (&v)[items], const int lane, const int width) {
  for (int d = 1; d < width; d *= 2)
#pragma unroll
    for (int i = 0; i < items; ++i) {
      const Total u = __shfl_up_sync(~0u, v[i], d, width);
      if (lane >= d) v[i] = u + v[i];
    }
  Total sum = 0;
#pragma unroll
  for (int i = 0; i < items; ++i) {
    const Total all = __shfl_sync(~0u, v[i], width - 1, width);
    v[i] = sum + v[i];
    sum = sum + all;
  }
  return sum;
}

// Adds to v the sums of the warps before this one, and returns the sum of all warps. `sums` is shared memory.
template<class Total, int items>
__device__ __forceinline__ Total add_warps(Total (&v)[items], Total sum, const int lane, const int warp,
                                           Total (&sums)[threads / 32]) {
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  sum = 0;
  Total before = 0;
#pragma unroll
  for (int w = 0; w < threads / 32; ++w) {
    if (w == warp) before = sum;
    sum = sum + sums[w];
  }
#pragma unroll
  for (int i = 0; i < items; ++i) v[i] = before + v[i];
  return sum;
}

// Scans contiguous slices. A group of up to 32 threads, or a whole block, scans a chunk tile by tile. Groups
// that share a warp have slices of one chunk.
template<class Total>
__global__ void __launch_bounds__(threads) scan_rows(const Scan<Total> s, const int group) {
  constexpr int items = 4;
  const int thread = static_cast<int>(threadIdx.x), width = group < 32 ? group : 32;
  const int lane = thread & (width - 1), warp = (thread & (group - 1)) / 32;
  const std::int64_t job = static_cast<std::int64_t>(blockIdx.x) * (threads / group) + thread / group;
  const std::int64_t slice = job / s.chunks, c = job - slice * s.chunks;
  const bool valid = slice < s.slices;
  const std::int64_t first = c * s.chunk, end = first + s.chunk < s.n ? first + s.chunk : s.n;
  Total carry = valid ? s.before(slice, c) : 0;

  __shared__ Total sums[2][threads / 32];  // in turn: while one is read, the next tile writes the other
  int turn = 0;
  for (std::int64_t tile = first; tile < end; tile += group * items) {
    std::int64_t at[items];
    bool there[items];
    Total v[items];
#pragma unroll
    for (int i = 0; i < items; ++i) {
      const std::int64_t e = tile + (warp * items + i) * width + lane;
      there[i] = valid && e < end;
      at[i] = slice * s.n + s.offset(e);
    }
    load(s, at, there, v);
    Total sum = warp_scan(v, lane, width);
    if (group > 32) {
      sum = add_warps(v, sum, lane, warp, sums[turn]);
      turn ^= 1;
    }
#pragma unroll
    for (int i = 0; i < items; ++i) v[i] = carry + v[i];
    carry = carry + sum;
    if (!s.first_pass) store(s, at, there, v);
  }
  if (s.first_pass && valid && (thread & (group - 1)) == 0) s.totals[job] = carry;
}

// Scans slices whose elements are `inner` apart, a thread each; blockIdx.y is the chunk.
template<class Total>
__global__ void __launch_bounds__(threads) scan_columns(const Scan<Total> s) {
  constexpr int items = 8;
  const std::int64_t slice = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x, c = blockIdx.y;
  if (slice >= s.slices) return;
  const std::int64_t begin = s.begin(slice), first = c * s.chunk,
                     end = first + s.chunk < s.n ? first + s.chunk : s.n;
  Total total = s.before(slice, c);
  for (std::int64_t e = first; e < end; e += items) {
    std::int64_t at[items];
    bool there[items];
    Total v[items];
#pragma unroll
    for (int i = 0; i < items; ++i) {
      there[i] = e + i < end;
      at[i] = begin + s.offset(e + i);
    }
    load(s, at, there, v);
#pragma unroll
    for (int i = 0; i < items; ++i) v[i] = total = total + v[i];
    if (!s.first_pass) store(s, at, there, v);
  }
  if (s.first_pass) s.totals[slice * s.chunks + c] = total;
}

// Launches a pass.
template<class Total>
void pass(std::string_view op, Device d, const Scan<Total>& s) {
  if (s.inner > 1) {
    const dim3 grid{cuda::blocks_for(s.slices, threads), static_cast<unsigned>(s.chunks)};
    return cuda::launch(op, {.device = d, .grid = grid, .block = threads}, scan_columns<Total>, s);
  }
  const int group = s.chunks > 1 || s.n > 512
                        ? threads
                        : std::min(32, static_cast<int>(std::bit_ceil(static_cast<unsigned>(s.n))));
  cuda::launch(
      op, {.device = d, .grid = cuda::blocks_for(s.slices * s.chunks, threads / group), .block = threads},
      scan_rows<Total>, s, group);
}

// The number of chunks per slice that saturates the memory; chunks have a least length.
std::int64_t chunks(std::int64_t slices, std::int64_t n, bool rows, int sms) {
  const std::int64_t enough = rows ? 8 * sms : 1024 * sms, shortest = rows ? 4096 : 64, most = 4096;
  return std::clamp<std::int64_t>(std::min(enough / slices, n / shortest), 1, most);
}

template<class Total>
void scan(std::string_view op, const Tensor& x, const Tensor& y, int axis, bool reverse) {
  if (y.numel() == 0) return;
  const Device device = y.device();
  Scan<Total> s{x.raw(), y.raw(), x.dtype(), y.dtype(), 1, y.shape()[axis], 1, reverse, 1, 1, nullptr, false};
  for (int i = axis + 1; i < y.rank(); ++i) s.inner *= y.shape()[i];
  s.slices = y.numel() / s.n;
  s.chunk = s.n;
  const std::int64_t wanted = chunks(s.slices, s.n, s.inner == 1, cuda::properties(device).sms);
  if (wanted == 1) return pass(op, device, s);

  s.chunk = ceil_div(s.n, wanted);
  s.chunks = ceil_div(s.n, s.chunk);
  const DType kept = dtype_of<Total>();
  const Tensor totals = empty({s.slices * s.chunks}, kept, device);
  s.totals = totals.raw<Total>();
  s.first_pass = true;
  pass(op, device, s);
  pass<Total>(op, device,
              {s.totals, s.totals, kept, kept, s.slices, s.chunks, 1, false, 1, s.chunks, nullptr, false});
  s.first_pass = false;
  pass(op, device, s);
}

}  // namespace

void CumSum::cuda(Inputs x, Tensor& y) const {
  const int dim = normalize_axis(name, axis, y.rank());
  if (is_floating(y.dtype()))
    scan<double>(name, x[0], y, dim, reverse);
  else
    scan<std::int64_t>(name, x[0], y, dim, reverse);
}

}  // namespace bobbin
