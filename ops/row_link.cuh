// How the threads that hold one row learn its maximum and sums: warps of a block through shared memory,
// blocks of a cluster through each other's shared memory, other blocks through a board in global memory. One
// exchange a row: every warp brings sums relative to its own maximum.
#pragma once
#include "row_functor.cuh"
#include "row_plan.h"

namespace bobbin::cuda {

/// Where blocks of a grid that are all resident leave what they know for each other. Words hold 32 bits of a
/// value below a tag that no earlier launch used: the tag says that the value is there, so nothing is ever
/// reset. words[0] is the last tag used, words[1] counts the blocks that are done; slots follow.
struct Board {
  unsigned long long* words;
  static constexpr int header = 2;
};

/// `count` teams of `blocks` consecutive blocks of the grid each hold a row together.
struct Team {
  int blocks;
  std::int64_t count;
  Link link;
  Board board;  // for Link::grid
};

/// Entries of shared memory that an exchange needs.
__host__ __device__ constexpr int exchange_room(int warps, int blocks, Link link) {
  return 2 * ((link == Link::cluster ? warps * blocks : warps) + 1);
}

template<class F>
class Exchange {
  using S = Stats<F>;
  static constexpr int n_words = sizeof(S) / 4;

 public:
  /// `room` is shared memory.
  __device__ Exchange(const F& f, const Team& team, S* room, std::int64_t rows)
      : f_(f), team_(team), room_(room), rows_(rows) {
    if (team.link == Link::grid) tag_ = static_cast<unsigned>(load(team.board.words));
#if __CUDA_ARCH__ >= 900
    if (team.link == Link::cluster) sync_cluster();  // the others' shared memory exists from here on
#endif
  }

  /// What the row comes to, in all threads of all its blocks, from what each warp has.
  __device__ S operator()(const S& mine) {
    const int warps = static_cast<int>(blockDim.x) / 32;
    const int entries = team_.link == Link::cluster ? warps * team_.blocks : warps;
    S* const here = room_ + (tag_ & 1) * (entries + 1);  // two rooms: a warp may be a row ahead of the others
    ++tag_;
#if __CUDA_ARCH__ >= 900
    if (team_.link == Link::cluster) {
      S* const place = here + static_cast<int>(blockIdx.x) % team_.blocks * warps + warp();
      if (lane() < team_.blocks) store_remote(place, lane(), mine);
      sync_cluster();
      return merge_all(here, entries);
    }
#endif
    if (lane() == 0) here[warp()] = mine;
    __syncthreads();
    if (team_.link == Link::block) return merge_all(here, entries);
    if (warp() == 0) {
      const S all = across_grid(merge_all(here, entries));
      if (lane() == 0) here[entries] = all;
    }
    __syncthreads();
    return here[entries];
  }

  /// After the last row. The last block to get here makes the tags of this launch used ones.
  __device__ void end() {
    if (team_.link != Link::grid || threadIdx.x != 0) return;
    auto* const done = reinterpret_cast<unsigned*>(team_.board.words + 1);
    if (atomicAdd(done, 1u) != gridDim.x - 1) return;
    *done = 0;
    const auto rounds = (rows_ + team_.count - 1) / team_.count;
    store(team_.board.words, static_cast<unsigned>(load(team_.board.words)) + static_cast<unsigned>(rounds));
  }

 private:
  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  static __device__ int warp() { return static_cast<int>(threadIdx.x / 32); }

  __device__ S merge_all(const S* from, int count) const {
    S s = S::none();
    for (int i = lane(); i < count; i += 32) s = merge(f_, s, from[i]);
    return lanes_merge(f_, s, 32);
  }

  __device__ S across_grid(const S& block) const {
    const int first = static_cast<int>(blockIdx.x) / team_.blocks * team_.blocks;
    unsigned long long* const slots =
        team_.board.words + Board::header + static_cast<std::size_t>(tag_ & 1) * gridDim.x * n_words;
    if (lane() == 0) {
      const auto* const word = reinterpret_cast<const unsigned*>(&block);
#pragma unroll
      for (int w = 0; w < n_words; ++w)
        store(slots + static_cast<std::size_t>(w) * gridDim.x + blockIdx.x,
              static_cast<unsigned long long>(tag_) << 32 | word[w]);
    }
    S s = S::none();
    for (int i = lane(); i < team_.blocks; i += 32) {
      S other;
      auto* const word = reinterpret_cast<unsigned*>(&other);
#pragma unroll
      for (int w = 0; w < n_words; ++w) {
        unsigned long long seen;
        do seen = load(slots + static_cast<std::size_t>(w) * gridDim.x + first + i);
        while (seen >> 32 != tag_);
        word[w] = static_cast<unsigned>(seen);
      }
      s = merge(f_, s, other);
    }
    __syncwarp();
    return lanes_merge(f_, s, 32);
  }

  static __device__ unsigned long long load(const unsigned long long* p) {
    unsigned long long v;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return v;
  }
  static __device__ void store(unsigned long long* p, unsigned long long v) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
  }

#if __CUDA_ARCH__ >= 900
  static __device__ void sync_cluster() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
  }
  static __device__ void store_remote(S* place, int rank, const S& s) {
    const unsigned here = static_cast<unsigned>(__cvta_generic_to_shared(place));
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    const auto* const word = reinterpret_cast<const unsigned*>(&s);
#pragma unroll
    for (int w = 0; w < n_words; ++w)
      asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(there + 4 * w), "r"(word[w]) : "memory");
  }
#endif

  const F& f_;
  const Team& team_;
  S* const room_;
  const std::int64_t rows_;
  unsigned tag_ = 0;  // of the last exchange
};

}  // namespace bobbin::cuda
