// The exchange of a row's maximum and sums between the threads that hold the row: the warps of a block
// exchange through shared memory, the blocks of a cluster through each other's shared memory, and other
// blocks through a mailbox in global memory. One exchange per row is enough, because the sums of each warp
// are relative to its own maximum.
#pragma once
#include "ops/cuda/rows/functor.cuh"
#include "ops/cuda/rows/mailbox.h"

namespace bobbin::cuda {

/// The grid as `count` teams. A team is `blocks` consecutive blocks that hold one row together.
struct Team {
  int blocks;
  std::int64_t count;
  Scope scope;
  Mailbox mailbox;  // for Scope::grid
};

template<class F>
class Exchange {
  using S = Stats<F>;
  static constexpr int n_words = sizeof(S) / 4;

 public:
  /// `shared` has room for exchange_entries(...) statistics.
  __device__ Exchange(const F& f, const Team& team, S* shared, std::int64_t rows)
      : f_(f), team_(team), shared_(shared), rows_(rows) {
    if (team.scope == Scope::grid) tag_ = static_cast<unsigned>(ptx::ld_relaxed_gpu(team.mailbox.words));
#if __CUDA_ARCH__ >= 900
    if (team.scope != Scope::cluster) return;
    if (threadIdx.x == 0) {
      ptx::mbarrier_init_1(barrier(1));
      if constexpr (has_dominant<F>) ptx::mbarrier_init_1(barrier(2));
    }
    ptx::barrier_cluster_arrive_relaxed();
#endif
  }

  /// Merges the statistics of each warp of the team. All threads of the team get the result. A cluster calls
  /// this once per barrier, because each is used for one phase only.
  __device__ S operator()(const S& mine) {
    const int warps = static_cast<int>(blockDim.x) / 32;
    // Two buffers, used in turn, because one warp may be a row ahead of the others.
    const int pitch = warps + (has_dominant<F> && team_.scope == Scope::cluster ? team_.blocks : 1);
    S* const by_warp = shared_ + 2 + (++tag_ & 1) * pitch;
    S* const by_block = by_warp + warps;
    if (warps == 1 && team_.scope == Scope::block) return mine;
    if (lane() == 0) by_warp[warp()] = mine;
#if __CUDA_ARCH__ >= 900
    if (team_.scope == Scope::cluster) ptx::barrier_cluster_wait_acquire();
#endif
    __syncthreads();
    if (team_.scope == Scope::block) return merge_all(by_warp, warps);
    if (warp() == 0) {
      const S block = merge_all(by_warp, warps);
#if __CUDA_ARCH__ >= 900
      if (team_.scope == Scope::cluster) {
        if (lane() < team_.blocks)
          send(by_block + static_cast<int>(blockIdx.x) % team_.blocks, lane(), block);
      } else
#endif
      {
        const S all = across_grid(block);
        if (lane() == 0) *by_block = all;
      }
    }
#if __CUDA_ARCH__ >= 900
    if (team_.scope == Scope::cluster) {
      await_cluster();
      return merge_all(by_block, team_.blocks);
    }
#endif
    __syncthreads();
    return *by_block;
  }

  /// Call after the last row. The last block that calls this advances the mailbox's tag for the next launch.
  __device__ void end() {
    if (team_.scope != Scope::grid || threadIdx.x != 0) return;
    auto* const done = reinterpret_cast<unsigned*>(team_.mailbox.words + 1);
    if (atomicAdd(done, 1u) != gridDim.x - 1) return;
    *done = 0;
    const auto rounds = (has_dominant<F> ? 2 : 1) * ((rows_ + team_.count - 1) / team_.count);
    ptx::st_relaxed_gpu(team_.mailbox.words, static_cast<unsigned>(ptx::ld_relaxed_gpu(team_.mailbox.words)) +
                                                 static_cast<unsigned>(rounds));
  }

 private:
  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  static __device__ int warp() { return static_cast<int>(threadIdx.x / 32); }

  // Merges `count` statistics, at most 32.
  __device__ S merge_all(const S* from, int count) const {
    const int lanes = count > 1 ? 2 << (31 - __clz(count - 1)) : 1, i = lane() & (lanes - 1);
    return warp_merge(f_, i < count ? from[i] : S::none(), lanes);
  }

  // Writes the block's statistics to the mailbox; then reads and merges the statistics of all blocks of the
  // team.
  __device__ S across_grid(const S& block) const {
    const int first = static_cast<int>(blockIdx.x) / team_.blocks * team_.blocks;
    unsigned long long* const slots =
        team_.mailbox.words + Mailbox::header + static_cast<std::size_t>(tag_ & 1) * gridDim.x * n_words;
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
    return warp_merge(f_, s, 32);
  }

#if __CUDA_ARCH__ >= 900
  // Mbarriers for the first and the second exchange, which count the bytes that the blocks of the cluster
  // send to this one. Unlike a barrier of the cluster, they do not wait for other memory accesses.
  __device__ unsigned barrier(unsigned tag) const { return ptx::shared_address(shared_ + (tag - 1)); }
  __device__ void await_cluster() const {
    if (threadIdx.x == 0)
      ptx::mbarrier_arrive_expect_tx(barrier(tag_), static_cast<unsigned>(team_.blocks * sizeof(S)));
    while (!ptx::mbarrier_try_wait_phase_0(barrier(tag_))) {
    }
  }
  // Writes s to `place` in the shared memory of block `rank` of the cluster.
  __device__ void send(S* place, int rank, const S& s) const {
    const unsigned to = ptx::mapa(ptx::shared_address(place), rank);
    const unsigned there = ptx::mapa(barrier(tag_), rank);
    const auto* const word = reinterpret_cast<const unsigned*>(&s);
#pragma unroll
    for (int w = 0; w < n_words; ++w) ptx::st_async(to + 4 * w, word[w], there);
  }
#endif

  const F& f_;
  const Team& team_;
  S* const shared_;
  const std::int64_t rows_;
  unsigned tag_ = 0;  // of the latest exchange
};

}  // namespace bobbin::cuda
