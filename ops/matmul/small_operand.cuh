// Operands of small matrix products: how a block copies a part of an operand to shared memory, and how the
// threads read it there. An operand is contiguous either along k, the index of the sums, or across it.
#pragma once
#include "core/cuda/pack.cuh"
#include "core/cuda/ptx.cuh"
#include "core/cuda/strided.cuh"

namespace bobbin::cuda::small_gemm {

inline constexpr int threads = 256;
inline constexpr int segment = 128;  // values of k that a block copies at a time
inline constexpr int stages = 2;     // segments in shared memory: one is read while the next one is copied

// An operand. A line is a contiguous run of elements: a row or a column, along k or across it.
struct SmallOperand {
  const float* data;
  const float* gate;  // elements count as 0 where this is not positive; null: no gate
  std::int64_t batch_stride;
  int stride;       // between lines
  int extent;       // rows of a, or columns of b
  bool along_k;     // lines run along k
  bool vectorized;  // lines begin and end at multiples of 16 bytes
};

// Starts to copy n elements to shared memory, or zeros where they are not `valid`.
template<int n>
__device__ void copy_async(float* to, const float* from, bool valid) {
  if constexpr (n == 4)
    ptx::cp_async_cg_16(to, from, valid);
  else
    ptx::cp_async_ca_4(to, from, valid);
}

// A segment of `extent` rows of a or columns of b in shared memory, which `lanes` lanes of a warp read. Lane
// 0 reads the first `group` rows or columns, lane 1 the next `group`, and so on; after the last lane, lane 0
// follows again.
template<bool along_k_, int extent_, int lanes>
struct SharedSegment {
  static constexpr bool along_k = along_k_;
  static constexpr int extent = extent_, per_lane = extent / lanes, group = per_lane < 4 ? per_lane : 4;
  // Elements between lines in shared memory; lanes that read at the same time use different banks.
  static constexpr int pitch = along_k ? segment + 4 : extent;
  static constexpr int floats = along_k ? extent * pitch : segment * pitch;
  // The i-th row or column of a lane.
  static constexpr __device__ int position(int lane, int i) {
    return i / group * group * lanes + lane * group + i % group;
  }
  // The line that is stored at this slot of shared memory; lanes that read at the same time read neighbouring
  // slots. line(a + b) is line(a) + line(b) for a multiple a of 8 and b < 8: for the slots that
  // `Loader::each` adds (it also uses steps of 2).
  static constexpr __device__ int line(int slot) {
    return along_k ? position(slot % lanes, slot / lanes) : slot;
  }
  // Reads `terms` values of k, from k0 on, of all rows or columns of a lane.
  template<int terms>
  static __device__ void load(float (&v)[per_lane][terms], const float* from_shared, int lane, int k0) {
    if constexpr (along_k) {
      using Terms = Pack<float, terms>;
      const float* const from = from_shared + lane * pitch + k0;
#pragma unroll
      for (int i = 0; i < per_lane; ++i) {
        const Terms x = *reinterpret_cast<const Terms*>(from + i * lanes * pitch);
#pragma unroll
        for (int k = 0; k < terms; ++k) v[i][k] = x.v[k];
      }
    } else {
      using Group = Pack<float, group>;
      const float* const from = from_shared + group * lane + k0 * extent;
#pragma unroll
      for (int k = 0; k < terms; ++k)
#pragma unroll
        for (int i = 0; i < per_lane; i += group) {
          const Group x = *reinterpret_cast<const Group*>(from + k * extent + i * lanes);
#pragma unroll
          for (int r = 0; r < group; ++r) v[i + r][k] = x.v[r];
        }
    }
  }
};

// Copies a block's part of an operand to shared memory, segment by segment. Each thread copies some elements.
template<class Segment>
struct Loader {
  static constexpr bool along_k = Segment::along_k;
  const float* from;  // the block's first element
  const float* gate;
  int stride;
  int extent;  // rows or columns that are left from there on
  bool vectorized;

  __device__ Loader(const SmallOperand& x, unsigned matrix, int first, int k0) {
    const std::int64_t start = static_cast<std::int64_t>(matrix) * x.batch_stride +
                               (along_k ? first * x.stride + k0 : k0 * x.stride + first);
    from = x.data + start;
    gate = x.gate ? x.gate + start : nullptr;
    stride = x.stride;
    extent = x.extent - first;
    vectorized = x.vectorized;
  }
  // Calls f(offset in shared memory, offset in memory, whether the operand has it) for each n elements that
  // this thread copies of a segment of `terms` values of k, rounded up to a multiple of 4.
  template<int n, class F>
  __device__ void each(int terms, F&& f) const {
    constexpr int in_line = (along_k ? segment : Segment::extent) / n,
                  lines = along_k ? Segment::extent : segment, step = threads / in_line;
    const int thread = static_cast<int>(threadIdx.x), at = thread % in_line * n, bound = (terms + 3) / 4 * 4;
    if (along_k && at >= bound) return;
    const int first = thread / in_line, left = (along_k ? extent : terms) - Segment::line(first),
              slot = first * Segment::pitch + at, offset = Segment::line(first) * stride + at;
    const bool in = at < (along_k ? terms : extent);
#pragma unroll(n == 4 ? lines / step : 1)
    for (int q = 0; q < lines; q += step) {
      if (!along_k && first + q >= bound) break;
      f(slot + q * Segment::pitch, offset + Segment::line(q) * stride, in && Segment::line(q) < left);
    }
  }
  // Starts to copy the segment that begins at k0, and that of the gate.
  template<int n>
  __device__ void load(float* to, float* gate_to, int k0, int terms) const {
    const std::int64_t on = along_k ? k0 : static_cast<std::int64_t>(k0) * stride;
    each<n>(terms,
            [&](int slot, int offset, bool valid) { copy_async<n>(to + slot, from + on + offset, valid); });
    if (gate)
      each<n>(terms, [&](int slot, int offset, bool valid) {
        copy_async<n>(gate_to + slot, gate + on + offset, valid);
      });
  }
  __device__ void load(float* to, float* gate_to, int k0, int terms) const {
    vectorized ? load<4>(to, gate_to, k0, terms) : load<1>(to, gate_to, k0, terms);
  }
  // Applies the gate to the elements that this thread copied.
  __device__ void apply_gate(float* to, const float* gate_at, int terms) const {
    if (vectorized)
      each<4>(terms, [&](int slot, int, bool) {
        // One access of 16 bytes each, also where the compiler finds that only some elements are needed.
        const float4 x = ptx::ld_shared_v4(to + slot), g = ptx::ld_shared_v4(gate_at + slot);
        *reinterpret_cast<float4*>(to + slot) = {g.x <= 0 ? 0 : x.x, g.y <= 0 ? 0 : x.y, g.z <= 0 ? 0 : x.z,
                                                 g.w <= 0 ? 0 : x.w};
      });
    else
      each<1>(terms, [&](int slot, int, bool) { to[slot] = gate_at[slot] <= 0 ? 0 : to[slot]; });
  }
};

}  // namespace bobbin::cuda::small_gemm
