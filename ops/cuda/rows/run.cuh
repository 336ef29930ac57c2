// The row engine: run_rows applies a functor (functor.cuh) to every row of a tensor in one kernel.
//
// algorithm.cpp chooses one of five algorithms. A pack is 16 bytes of neighbouring elements. Every algorithm
// reduces in a fixed order, so results do not depend on the run.
//
//   warp (warp_rows.cuh)
//     Shapes:   rows along the last axis, up to 4 KiB (f64: 2 KiB); up to 2 KiB for many rows of two inputs,
//     and
//               for functors with several sums and no maximum.
//     Row:      in the registers of 1 to 32 lanes of a warp. A warp holds up to 32 rows.
//     Exchange: shuffles.
//   tile (tile_rows.cuh)
//     Shapes:   rows up to 130 bytes whose length is no multiple of a pack; short rows along another axis.
//     Row:      a block copies a range of rows to shared memory; up to 32 lanes read a row into registers.
//     Exchange: shuffles.
//   block (block_rows.cuh)
//     Shapes:   longer rows along the last axis.
//     Row:      in the shared memory of one block, of a cluster, or of several blocks that all run at the
//               same time. With 16 packs per thread, four of them are in registers.
//     Exchange: shared memory within a block; the blocks' shared memory within a cluster; else a mailbox in
//               global memory (exchange.cuh).
//   two_pass (two_pass_rows.cuh)
//     Shapes:   rows along the last axis that are too long for shared memory.
//     Row:      all blocks that run at the same time share the rows, and read them twice.
//     Exchange: as in `block`.
//   strided (strided_rows.cuh)
//     Shapes:   longer rows along another axis; only for functors that take them.
//     Row:      in the registers of a block; each thread holds a few columns of neighbouring rows. If a row
//               has more columns, they are kept in shared memory, or read twice. If the rows would occupy few
//               blocks, several blocks share their columns, in one launch for the sums and one for the
//               output.
//     Exchange: shuffles, then shared memory, then global memory between the launches.
#pragma once
#include "core/cuda/runtime.h"
#include "ops/cuda/rows/block_rows.cuh"
#include "ops/cuda/rows/cached_launch.h"
#include "ops/cuda/rows/operands.h"
#include "ops/cuda/rows/strided_rows.cuh"
#include "ops/cuda/rows/tile_rows.cuh"
#include "ops/cuda/rows/two_pass_rows.cuh"
#include "ops/cuda/rows/warp_rows.cuh"

namespace bobbin::cuda {

namespace detail {

template<class F>
const TeamKernels& team_kernels() {
  static const TeamKernels kernels{{reinterpret_cast<const void*>(block_rows<F, block_packs[0] / F::inputs>),
                                    reinterpret_cast<const void*>(block_rows<F, block_packs[1] / F::inputs>)},
                                   reinterpret_cast<const void*>(two_pass_rows<F>),
                                   sizeof(Stats<F>)};
  return kernels;
}

template<class F>
using WarpKernel = void (*)(RowArgs<F>, int, bool, Divider);

template<class F>
WarpKernel<F> warp_kernel(const RowLaunch& p) {
  if constexpr (F::inputs > 1) {
    if (p.packs == 1) return warp_rows<F, 1, false>;
  } else if (p.packs == 2) {
    return warp_rows<F, 2, true>;
  }
  if (p.coalesced) return warp_rows<F, 4, true>;
  if constexpr (sizeof(typename F::Storage) < 8)
    if (p.packs == 8) return warp_rows<F, 8, false>;
  return warp_rows<F, 4, false>;
}

template<class F>
void run_strided(std::string_view op, Launch& l, const RowArgs<F>& a, std::int64_t inner,
                 const RowLaunch& p) {
  const auto kernel = p.packs ? strided_rows<F, true> : strided_rows<F, false>;
  StridedParts<F> parts{StridedStage::whole, p.part_columns, p.parts, nullptr, nullptr};
  if (p.parts == 1) return launch(op, l, kernel, a, inner, p.cached, parts);
  const std::int64_t bytes = a.rows * p.parts * static_cast<std::int64_t>(sizeof(Stats<F>));
  const Tensor memory = empty({bytes * (has_dominant<F> ? 2 : 1)}, DType::u8, l.device);
  parts.sums = reinterpret_cast<Stats<F>*>(memory.raw());
  if (has_dominant<F>) parts.others = parts.sums + a.rows * p.parts;
  l.grid.y = static_cast<unsigned>(p.parts);
  for (const StridedStage stage : {StridedStage::sums, StridedStage::others, StridedStage::store}) {
    if (stage == StridedStage::others && !has_dominant<F>) continue;
    parts.stage = stage;
    launch(op, l, kernel, a, inner, false, parts);
  }
}

}  // namespace detail

/// Enqueues f over all rows of x; nothing if x has no elements. `early`: the kernel loads its rows before the
/// previous kernel ends. f.row calls await_previous(), and only what runs after f.row may read what that
/// kernel writes.
template<class F>
void run_rows(std::string_view op, const RowOperands& x, const F& f, bool early = false) {
  using T = typename F::Storage;
  static_assert(sizeof(Stats<F>) / 4 <= mailbox_words);
  if (x.numel() == 0) return;
  const Device d = x.device();
  RowArgs<F> a{{}, {}, static_cast<T*>(x.out()), x.outer * x.inner, x.columns, f, false};
  for (std::size_t k = 0; k < F::inputs; ++k) {
    a.in[k] = static_cast<const T*>(x.in(k));
    a.pitch[k] = x.pitch[k];
  }
  const RowShape shape{x.outer,   x.columns, x.inner,   static_cast<int>(sizeof(T)),
                       F::inputs, F::sums,   F::has_max};
  const TeamKernels& kernels = detail::team_kernels<F>();
  const RowLaunch& p = cached_launch(d, shape, kernels);
  Launch l{d, dim3(static_cast<unsigned>(p.grid)), dim3(static_cast<unsigned>(p.threads)),
           shared_bytes(p, kernels)};
  l.early = true;
  a.early = early && p.scope != Scope::grid;  // the previous kernel may use the mailbox, so wait for it
  switch (p.algorithm) {
    case Algorithm::warp:
      return launch(op, l, detail::warp_kernel<F>(p), a, p.lanes, p.shared > 0,
                    Divider(static_cast<std::uint32_t>(shape.packs())));
    case Algorithm::tile:
      return launch(op, l, tile_rows<F>, a, x.outer, static_cast<int>(x.inner), p.slabs, p.lanes);
    case Algorithm::strided:
      if constexpr (!is_last_axis<F>) return detail::run_strided(op, l, a, x.inner, p);
      break;
    case Algorithm::block:
    case Algorithm::two_pass:
      l.cluster = p.scope == Scope::cluster ? p.blocks : 1;
      l.cooperative = p.scope == Scope::grid;
      using TeamKernel = void (*)(RowArgs<F>, Team, int);
      const auto kernel = reinterpret_cast<TeamKernel>(const_cast<void*>(kernels.kernel(p, F::inputs)));
      const Team team{p.blocks, p.teams, p.scope, p.scope == Scope::grid ? mailbox(d) : Mailbox{}};
      return launch(op, l, kernel, a, team, static_cast<int>(p.packs_per_block));
  }
}

}  // namespace bobbin::cuda
