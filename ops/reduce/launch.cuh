// Reductions on a GPU, from a plan to launches. A long result is cut into parts, which a second launch
// merges.
#pragma once
#include "core/ceil_div.h"
#include "core/cuda/runtime.h"
#include "ops/reduce/kernel.cuh"

namespace bobbin::reduction {

constexpr std::int64_t most_elements = std::int64_t{1} << 30;

// Calls g(box) for boxes of at most that many elements of each result, cut along the outermost reduced
// dimension.
template<class F, class G>
void each_box(const Args<F>& a, const G& g) {
  if (a.length <= most_elements) return g(a);
  const int outermost = a.reduced.rank - 1;
  const std::int64_t size = a.reduced.size[outermost], half = size / 2, inner = a.length / size;
  Args<F> low = a, high = a;
  low.reduced.resize(half);
  low.length = half * inner;
  high.reduced.resize(size - half);
  high.length = a.length - low.length;
  high.begin += low.length;
  high.x += (half * a.reduced.x[outermost]) << a.item_bits;
  each_box(low, g);
  each_box(high, g);
}

/// Folds x over `axes` (normalised) into `y`, and the index that the fold keeps into `index`. Either may be
/// null; both are row-major.
template<class F>
void reduce(std::string_view op, const F& f, const Tensor& x, const Axes& axes, const Tensor* y,
            const Tensor* index = nullptr) {
  const Device device = x.device();
  const Plan plan(x, axes, index != nullptr, cuda::properties(device).sms);
  if (plan.results == 0) return;
  const auto bits = [](std::int64_t power) { return std::countr_zero(static_cast<std::uint64_t>(power)); };
  Args<F> whole{.f = f,
                .kept = plan.kept,
                .reduced = plan.reduced,
                .x = x.raw<char>(),
                .y = y ? y->raw() : nullptr,
                .index = index ? index->raw<std::int64_t>() : nullptr,
                .parts = nullptr,
                .results = plan.results,
                .all = plan.length,
                .begin = 0,
                .length = plan.length,
                .part_length = 0,
                .first_part = 0,
                .all_parts = 0,
                .x_dtype = x.dtype(),
                .y_dtype = y ? y->dtype() : DType::i64,
                .team_bits = bits(plan.team),
                .step_bits = bits(plan.step),
                .item_bits = bits(size_of(x.dtype())),
                .packed = plan.packed};
  each_box(whole, [&](const Args<F>&) { whole.all_parts += plan.parts; });
  Tensor parts;
  if (whole.all_parts > 1) {
    const std::int64_t bytes = plan.results * whole.all_parts * static_cast<std::int64_t>(sizeof(State<F>));
    parts = empty({bytes}, DType::u8, device);
    whole.parts = static_cast<State<F>*>(parts.raw());
  }
  each_box(whole, [&](Args<F> box) {
    box.part_length = ceil_div(ceil_div(box.length, plan.parts), 64) * 64;
    box.first_part = whole.first_part;
    whole.first_part += plan.parts;
    cuda::launch(op,
                 {.device = device,
                  .grid = {plan.blocks(), static_cast<unsigned>(plan.parts)},
                  .block = static_cast<unsigned>(plan.threads)},
                 fold_parts<F>, box);
  });
  if (!parts) return;
  const int team =
      std::min(merge_threads, static_cast<int>(std::bit_ceil(static_cast<unsigned>(whole.all_parts))));
  cuda::launch(op,
               {.device = device,
                .grid = cuda::blocks_for(plan.results * team, merge_threads),
                .block = merge_threads},
               merge_parts<F>, whole, team);
}

}  // namespace bobbin::reduction
