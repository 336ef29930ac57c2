// Runs a functor over rows: chooses a way (row_plan.h) and launches its kernel.
#pragma once
#include <array>

#include "ops/cuda/rows/block_rows.cuh"
#include "ops/cuda/rows/mailbox.h"
#include "ops/cuda/rows/operands.h"
#include "ops/cuda/rows/strided_rows.cuh"
#include "ops/cuda/rows/tile_rows.cuh"
#include "ops/cuda/rows/two_pass_rows.cuh"
#include "ops/cuda/rows/warp_rows.cuh"

namespace bobbin::cuda {

namespace detail {

template<class F>
using BlockKernel = void (*)(RowArgs<F>, Team, int);

template<class F>
BlockKernel<F> block_kernel(const RowPlan& p) {
  if (p.way == Way::chunks) return chunk_rows<F>;
  constexpr int n = F::inputs;
  return p.packs == 4 / n   ? block_rows<F, 4 / n>
         : p.packs == 8 / n ? block_rows<F, 8 / n>
                            : block_rows<F, 16 / n>;
}

template<class F>
using LaneKernel = void (*)(RowArgs<F>, int, bool, Divider);

template<class F>
LaneKernel<F> lane_kernel(const RowPlan& p) {
  if constexpr (F::inputs > 1) {
    if (p.packs == 1) return lane_rows<F, 1, false>;
  } else if (p.packs == 2) {
    return lane_rows<F, 2, true>;
  }
  if (p.together) return lane_rows<F, 4, true>;
  if constexpr (sizeof(typename F::Storage) < 8)
    if (p.packs == 8) return lane_rows<F, 8, false>;
  return lane_rows<F, 4, false>;
}

template<class F>
std::size_t shared_bytes(const RowPlan& p) {
  const bool linked = p.way == Way::block || p.way == Way::chunks;
  return p.shared + (linked ? exchange_room(p.threads / 32, p.blocks, p.link) * sizeof(Stats<F>) : 0);
}

/// Plans of this functor that this thread used last.
template<class F>
const RowPlan& plan_for(Device d, const RowShape& shape) {
  struct Memo {
    Device device;
    RowShape shape{};
    RowTuning tuning;
    RowPlan plan;
  };
  static thread_local std::array<Memo, 8> memos;
  const auto place =
      static_cast<std::uint64_t>(shape.outer * 31 + shape.columns * 7 + shape.inner) % memos.size();
  Memo& m = memos[place];
  if (m.device != d || m.shape != shape || m.tuning != row_tuning()) {
    const Properties& p = properties(d);
    const RowTuning tuning = row_tuning();
    m.plan = plan_rows(shape, {p.sms, p.shared_per_block, p.major >= 9}, tuning, [&](const RowPlan& plan) {
      const auto* kernel = reinterpret_cast<const void*>(block_kernel<F>(plan));
      return resident_teams(d, kernel, plan, shared_bytes<F>(plan));
    });
    m.device = d;
    m.shape = shape;
    m.tuning = tuning;
  }
  return m.plan;
}

}  // namespace detail

/// Enqueues f over all rows of x (row_functor.cuh says what a functor is). Nothing where x has no elements.
/// `early`: only f.row wants what the kernel enqueued last leaves; it awaits that (await_previous).
template<class F>
void run_rows(std::string_view op, const RowOperands& x, const F& f, bool early = false) {
  using T = typename F::Storage;
  static_assert(sizeof(Stats<F>) / 4 <= board_words);
  if (x.numel() == 0) return;
  const Device d = x.device();
  RowArgs<F> a{{}, {}, static_cast<T*>(x.out()), x.outer * x.inner, x.columns, f, false};
  for (std::size_t k = 0; k < F::inputs; ++k) {
    a.in[k] = static_cast<const T*>(x.in(k));
    a.pitch[k] = x.pitch[k];
  }
  const RowShape shape{x.outer,   x.columns, x.inner,         static_cast<int>(sizeof(T)),
                       F::inputs, F::sums,   a.out != nullptr};
  const RowPlan& p = detail::plan_for<F>(d, shape);
  Launch launch_{d, dim3(static_cast<unsigned>(p.grid)), dim3(static_cast<unsigned>(p.threads)),
                 detail::shared_bytes<F>(p)};
  launch_.early = true;
  a.early = early && p.link != Link::grid;  // the board must be as the kernel before leaves it
  switch (p.way) {
    case Way::lanes:
      return launch(op, launch_, detail::lane_kernel<F>(p), a, p.lanes, p.shared > 0,
                    Divider(static_cast<std::uint32_t>(shape.packs())));
    case Way::tile:
      return launch(op, launch_, tile_rows<F>, a, x.outer, static_cast<int>(x.inner), p.slabs, p.lanes);
    case Way::columns:
      if constexpr (!is_masked<F>)
        return launch(op, launch_, p.packs ? column_rows<F, true> : column_rows<F, false>, a, x.inner,
                      p.stash);
      break;
    case Way::block:
    case Way::chunks:
      launch_.cluster = p.link == Link::cluster ? p.blocks : 1;
      launch_.cooperative = p.link == Link::grid;
      const Team team{p.blocks, p.teams, p.link, p.link == Link::grid ? board(d) : Board{}};
      return launch(op, launch_, detail::block_kernel<F>(p), a, team, static_cast<int>(p.share));
  }
}

}  // namespace bobbin::cuda
