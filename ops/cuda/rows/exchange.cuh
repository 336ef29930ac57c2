// How the threads that hold one row learn its maximum and sums: warps of a block through shared memory,
// blocks of a cluster through each other's shared memory, other blocks through a board in global memory. One
// exchange a row: every warp brings sums relative to its own maximum.
#pragma once
#include "ops/cuda/rows/functor.cuh"

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

/// Entries of shared memory that an exchange needs: one for a barrier, and twice one a warp and what the
/// blocks of a team bring.
__host__ __device__ constexpr int exchange_room(int warps, int blocks, Link link) {
  return 1 + 2 * (warps + (link == Link::cluster ? blocks : 1));
}

template<class F>
class Exchange {
  using S = Stats<F>;
  static constexpr int n_words = sizeof(S) / 4;

 public:
  /// `room` is shared memory.
  __device__ Exchange(const F& f, const Team& team, S* room, std::int64_t rows)
      : f_(f), team_(team), room_(room), rows_(rows) {
    if (team.link == Link::grid) tag_ = static_cast<unsigned>(ptx::ld_relaxed_gpu(team.board.words));
#if __CUDA_ARCH__ >= 900
    if (team.link != Link::cluster) return;
    if (threadIdx.x == 0) ptx::mbarrier_init_1(barrier());
    ptx::barrier_cluster_arrive_relaxed();
#endif
  }

  /// What the row comes to, in all threads of all its blocks, from what each warp has. A cluster has one row.
  __device__ S operator()(const S& mine) {
    const int warps = static_cast<int>(blockDim.x) / 32;
    S* const here =
        room_ + 1 + (++tag_ & 1) * (warps + 1);  // two rooms: a warp may be a row ahead of the others
    S* const others = here + warps;
    if (lane() == 0) here[warp()] = mine;
#if __CUDA_ARCH__ >= 900
    if (team_.link == Link::cluster) ptx::barrier_cluster_wait_acquire();
#endif
    __syncthreads();
    if (team_.link == Link::block) return merge_all(here, warps);
#if __CUDA_ARCH__ >= 900
    if (team_.link == Link::cluster) {
      if (warp() == 0) {
        const S block = merge_all(here, warps);
        if (lane() < team_.blocks) send(others + static_cast<int>(blockIdx.x) % team_.blocks, lane(), block);
      }
      await_others();
      return merge_all(others, team_.blocks);
    }
#endif
    if (warp() == 0) {
      const S all = across_grid(merge_all(here, warps));
      if (lane() == 0) *others = all;
    }
    __syncthreads();
    return *others;
  }

  /// After the last row. The last block to get here makes the tags of this launch used ones.
  __device__ void end() {
    if (team_.link != Link::grid || threadIdx.x != 0) return;
    auto* const done = reinterpret_cast<unsigned*>(team_.board.words + 1);
    if (atomicAdd(done, 1u) != gridDim.x - 1) return;
    *done = 0;
    const auto rounds = (rows_ + team_.count - 1) / team_.count;
    ptx::st_relaxed_gpu(team_.board.words, static_cast<unsigned>(ptx::ld_relaxed_gpu(team_.board.words)) +
                                               static_cast<unsigned>(rounds));
  }

 private:
  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  static __device__ int warp() { return static_cast<int>(threadIdx.x / 32); }

  // Of at most 32.
  __device__ S merge_all(const S* from, int count) const {
    const int lanes = count > 1 ? 2 << (31 - __clz(count - 1)) : 1, i = lane() & (lanes - 1);
    return lanes_merge(f_, i < count ? from[i] : S::none(), lanes);
  }

  __device__ S across_grid(const S& block) const {
    const int first = static_cast<int>(blockIdx.x) / team_.blocks * team_.blocks;
    unsigned long long* const slots =
        team_.board.words + Board::header + static_cast<std::size_t>(tag_ & 1) * gridDim.x * n_words;
    if (lane() == 0) {
      const auto* const word = reinterpret_cast<const unsigned*>(&block);
#pragma unroll
      for (int w = 0; w < n_words; ++w)
        ptx::st_relaxed_gpu(slots + static_cast<std::size_t>(w) * gridDim.x + blockIdx.x,
                            static_cast<unsigned long long>(tag_) << 32 | word[w]);
    }
    S s = S::none();
    for (int i = lane(); i < team_.blocks; i += 32) {
      S other;
      auto* const word = reinterpret_cast<unsigned*>(&other);
#pragma unroll
      for (int w = 0; w < n_words; ++w) {
        unsigned long long seen;
        do seen = ptx::ld_relaxed_gpu(slots + static_cast<std::size_t>(w) * gridDim.x + first + i);
        while (seen >> 32 != tag_);
        word[w] = static_cast<unsigned>(seen);
      }
      s = merge(f_, s, other);
    }
    __syncwarp();
    return lanes_merge(f_, s, 32);
  }

#if __CUDA_ARCH__ >= 900
  // What blocks of a cluster send each other, they count in bytes: none waits for memory, as a barrier of the
  // cluster would.
  __device__ unsigned barrier() const { return ptx::shared_address(room_); }
  __device__ void await_others() const {
    if (threadIdx.x == 0)
      ptx::mbarrier_arrive_expect_tx(barrier(), static_cast<unsigned>(team_.blocks * sizeof(S)));
    while (!ptx::mbarrier_try_wait_phase_0(barrier())) {
    }
  }
  __device__ void send(S* place, int rank, const S& s) const {
    const unsigned to = ptx::mapa(ptx::shared_address(place), rank);
    const unsigned there = ptx::mapa(barrier(), rank);
    const auto* const word = reinterpret_cast<const unsigned*>(&s);
#pragma unroll
    for (int w = 0; w < n_words; ++w) ptx::st_async(to + 4 * w, word[w], there);
  }
#endif

  const F& f_;
  const Team& team_;
  S* const room_;
  const std::int64_t rows_;
  unsigned tag_ = 0;  // of the last exchange
};

}  // namespace bobbin::cuda
