// Operands of small products: how a block fetches its terms of a tile, whichever way their lines lie.
#pragma once
#include "core/cuda/pack.cuh"
#include "core/cuda/ptx.cuh"
#include "core/cuda/strided.cuh"

namespace bobbin::cuda::small {

inline constexpr int threads = 256;
inline constexpr int segment = 128;  // terms of the sums that a block fetches at a time
inline constexpr int stages = 2;     // segments that are on their way, or in use

// One operand: lines of elements, either along the sum or across it.
struct Side {
  const float* data;
  const float* gate;  // elements count as 0 where this is not positive; null: all count
  std::int64_t next;
  int stride;
  int outer;   // rows of a, or columns of b
  bool along;  // the elements of a line are summed
  bool packs;  // lines begin and end on 16 bytes
};

template<int n>
__device__ void copy_async(float* to, const float* from, bool there) {  // or zeros
  if constexpr (n == 4)
    ptx::cp_async_cg_16(to, from, there);
  else
    ptx::cp_async_ca_4(to, from, there);
}

// `extent` rows or columns of an operand, that `lanes` lanes of a warp share: `group` side by side are a
// lane's, then the next lane's, until all have theirs, and so on.
template<bool along_, int extent_, int lanes>
struct Layout {
  static constexpr bool along = along_;
  static constexpr int extent = extent_, each = extent / lanes, group = each < 4 ? each : 4;
  // From place to place in shared memory, each of which holds a line: what is read at once lies in different
  // banks.
  static constexpr int pitch = along ? segment + 4 : extent;
  static constexpr int floats = along ? extent * pitch : segment * pitch;
  // Where number i of a lane's is.
  static constexpr __device__ int position(int mine, int i) {
    return i / group * group * lanes + mine * group + i % group;
  }
  // The line that lies in this place in shared memory: what is read at once is side by side. The line of a
  // sum is the sum of lines, where one place is a multiple of 8 and the other less.
  static constexpr __device__ int line(int place) {
    return along ? position(place % lanes, place / lanes) : place;
  }
  // What the lane `mine` has of these terms.
  template<int terms>
  static __device__ void load(float (&v)[each][terms], const float* side, int mine, int term) {
    if constexpr (along) {
      using Terms = Pack<float, terms>;
      const float* const from = side + mine * pitch + term;
#pragma unroll
      for (int i = 0; i < each; ++i) {
        const Terms x = *reinterpret_cast<const Terms*>(from + i * lanes * pitch);
#pragma unroll
        for (int k = 0; k < terms; ++k) v[i][k] = x.v[k];
      }
    } else {
      using Group = Pack<float, group>;
      const float* const from = side + group * mine + term * extent;
#pragma unroll
      for (int k = 0; k < terms; ++k)
#pragma unroll
        for (int i = 0; i < each; i += group) {
          const Group x = *reinterpret_cast<const Group*>(from + k * extent + i * lanes);
#pragma unroll
          for (int r = 0; r < group; ++r) v[i + r][k] = x.v[r];
        }
    }
  }
};

// This thread's part of what a block fetches of an operand.
template<class L>
struct Reader {
  static constexpr bool along = L::along;
  const float* from;  // where the block's terms and lines begin
  const float* gate;
  int stride;
  int outer;  // rows or columns that are left from there on
  bool whole;

  __device__ Reader(const Side& s, unsigned matrix, int first, int begin) {
    const std::int64_t start = static_cast<std::int64_t>(matrix) * s.next +
                               (along ? first * s.stride + begin : begin * s.stride + first);
    from = s.data + start;
    gate = s.gate ? s.gate + start : nullptr;
    stride = s.stride;
    outer = s.outer - first;
    whole = s.packs;
  }
  // Calls f(place in shared memory, offset in memory, whether it is there) for all n elements that are this
  // thread's, of a segment of so many terms, and what makes them a multiple of 4.
  template<int n, class F>
  __device__ void each(int terms, F&& f) const {
    constexpr int in_line = (along ? segment : L::extent) / n, lines = along ? L::extent : segment,
                  step = threads / in_line;
    const int thread = static_cast<int>(threadIdx.x), at = thread % in_line * n, bound = (terms + 3) / 4 * 4;
    if (along && at >= bound) return;
    const int first = thread / in_line, left = (along ? outer : terms) - L::line(first),
              place = first * L::pitch + at, offset = L::line(first) * stride + at;
    const bool in = at < (along ? terms : outer);
#pragma unroll(n == 4 ? lines / step : 1)
    for (int q = 0; q < lines; q += step) {
      if (!along && first + q >= bound) break;
      f(place + q * L::pitch, offset + L::line(q) * stride, in && L::line(q) < left);
    }
  }
  template<int n>
  __device__ void fetch(float* to, float* gate_to, int from_term, int terms) const {
    const std::int64_t on = along ? from_term : static_cast<std::int64_t>(from_term) * stride;
    each<n>(terms,
            [&](int place, int offset, bool there) { copy_async<n>(to + place, from + on + offset, there); });
    if (gate)
      each<n>(terms, [&](int place, int offset, bool there) {
        copy_async<n>(gate_to + place, gate + on + offset, there);
      });
  }
  __device__ void fetch(float* to, float* gate_to, int from_term, int terms) const {
    whole ? fetch<4>(to, gate_to, from_term, terms) : fetch<1>(to, gate_to, from_term, terms);
  }
  // Each thread does this to what it fetched itself.
  __device__ void apply_gate(float* to, const float* gate_at, int terms) const {
    if (whole)
      each<4>(terms, [&](int place, int, bool) {
        // One access of 16 bytes each, even where only some elements turn out to be needed.
        const float4 x = ptx::ld_shared_v4(to + place), g = ptx::ld_shared_v4(gate_at + place);
        *reinterpret_cast<float4*>(to + place) = {g.x > 0 ? x.x : 0, g.y > 0 ? x.y : 0, g.z > 0 ? x.z : 0,
                                                  g.w > 0 ? x.w : 0};
      });
    else
      each<1>(terms, [&](int place, int, bool) { to[place] = gate_at[place] > 0 ? to[place] : 0; });
  }
};

}  // namespace bobbin::cuda::small
