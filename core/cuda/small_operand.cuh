// Operands of small products: how a warp fetches its terms of a tile, whichever way their lines lie.
#pragma once
#include "pack.cuh"
#include "walk.cuh"

namespace bobbin::cuda::small {

inline constexpr int tile = 32, chunk = 8;  // of y; terms of the sums that a warp fetches at a time
inline constexpr int stages = 2;            // one chunk is used while the next is on its way
// From line to line in shared memory: what is read at once lies in different banks.
inline constexpr int pitch_along = chunk + 4, pitch_across = tile + 4;
inline constexpr int side_floats = tile * pitch_along;
static_assert(chunk * pitch_across <= side_floats);
// Shared memory of a warp.
__host__ __device__ constexpr int warp_floats(bool gated) { return stages * (2 + gated) * side_floats; }

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
  const unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = there ? n * 4 : 0;
  if constexpr (n == 4)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(from), "r"(bytes)
                 : "memory");
}

// Where this thread finds its packs of every chunk of an operand. Offsets are of elements.
template<bool along>
struct Reader {
  static constexpr int in_line = (along ? chunk : tile) / 4, packs = tile * chunk / 4 / 32,
                       next_line = 32 / in_line;
  static constexpr int pitch = along ? pitch_along : pitch_across;
  const float* from;
  std::int64_t gate;  // how much further on lies what the gate has there
  int next, on;       // from pack to pack, from chunk to chunk
  int place;          // in shared memory
  int lines, limit;   // that are left from this thread's line and element on
  bool whole, gated;

  __device__ Reader(const Side& s, unsigned matrix, int first, int begin, int end) {
    const int lane = static_cast<int>(threadIdx.x) % 32, line = lane / in_line, at = lane % in_line * 4;
    const int top = (along ? first : begin) + line, left = (along ? begin : first) + at;
    from = s.data + (static_cast<std::int64_t>(matrix) * s.next + top * s.stride + left);
    next = next_line * s.stride;
    on = along ? chunk : chunk * s.stride;
    place = line * pitch + at;
    lines = (along ? s.outer : end) - top;
    limit = (along ? end : s.outer) - left;
    whole = s.packs;
    gated = s.gate;
    gate = gated ? s.gate - s.data : 0;
  }
  // `further`: how much further on lies what is read.
  __device__ void fetch(float* to, std::int64_t further = 0) const {
    const float* const p = from + further;
    to += place;
    if (whole) {
#pragma unroll
      for (int q = 0; q < packs; ++q)
        copy_async<4>(to + q * next_line * pitch, p + q * next, lines > q * next_line && limit > 0);
    } else {
#pragma unroll 1
      for (int q = 0; q < packs; ++q)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          copy_async<1>(to + q * next_line * pitch + k, p + q * next + k, lines > q * next_line && limit > k);
    }
  }
  __device__ void advance() {
    from += on;
    (along ? limit : lines) -= chunk;
  }
  // Each thread does this to what it fetched itself.
  __device__ void apply(float* to, const float* gate) const {
#pragma unroll
    for (int q = 0; q < packs; ++q) {
      auto& x = *reinterpret_cast<float4*>(to + place + q * next_line * pitch);
      const float4 g = *reinterpret_cast<const float4*>(gate + place + q * next_line * pitch);
      x = {g.x > 0 ? x.x : 0, g.y > 0 ? x.y : 0, g.z > 0 ? x.z : 0, g.w > 0 ? x.w : 0};
    }
  }
};

}  // namespace bobbin::cuda::small
