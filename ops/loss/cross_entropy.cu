// Cross-entropy on a GPU. One kernel over the logits computes the losses and, if requested, the gradient. A
// kernel before it checks the classes and computes the divisor of `mean`; a kernel after it sums the losses.
// The first two overlap: the logits load while the classes are counted. One kernel of one block does all of
// this for a small problem. The host reads nothing back.
#include <optional>

#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"
#include "ops/check.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/cross_entropy_dense_targets.cuh"
#include "ops/loss/cross_entropy_one_block.cuh"
#include "ops/loss/cross_entropy_sums.cuh"

namespace bobbin {
namespace {

using cuda::CrossEntropyCall, cuda::TargetKind;

struct Operands {
  Tensor x, target, weight, cotangent;  // an undefined cotangent stands for 1
  Tensor loss, dx;                      // undefined: not computed
};

template<class T>
void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  using C = cuda::Compute<T>;
  const Device device = o.x.device();
  const bool indexed = o.target.dtype() == DType::i64, none = terms.reduction == Reduction::none,
             mean = terms.reduction == Reduction::mean;
  const std::int64_t classes = o.x.shape()[terms.axis], rows = o.x.numel() / classes;
  if (classes >= (std::int64_t{1} << 32) - 64) fail<ShapeError>(op, ": too many classes; got ", o.x.spec());

  CrossEntropyCall<T> call{.x = o.x.raw<T>(),
                           .index = indexed ? o.target.raw<std::int64_t>() : nullptr,
                           .probabilities = indexed ? nullptr : o.target.raw<T>(),
                           .weight = o.weight.raw<T>(),
                           .cotangent = o.cotangent.raw<T>(),
                           .row_cotangents = none,
                           .losses = none ? o.loss.raw<T>() : nullptr,
                           .losses_to_sum = nullptr,
                           .rows = rows,
                           .classes = classes,
                           .inner = 1,
                           .ignore_index = terms.ignore_index,
                           .confidence = static_cast<C>(1 - terms.smoothing),
                           .smoothing = static_cast<C>(terms.smoothing / static_cast<double>(classes)),
                           .divisor = {}};
  for (int i = terms.axis + 1; i < o.x.rank(); ++i) call.inner *= o.x.shape()[i];
  if (mean && !indexed)
    call.divisor = {.value = static_cast<double>(rows), .reciprocal = 1 / static_cast<double>(rows)};
  const cuda::FaultReporter report = cuda::fault_reporter(device, op, "class", classes);
  const bool smoothed = terms.smoothing != 0, dense = !indexed || (o.weight && smoothed);

  if (const cuda::OneBlock layout(rows, classes); layout.fits) {
    const cuda::Launch block{
        .device = device, .grid = 1, .block = static_cast<unsigned>(layout.threads), .early = true};
    return cuda::launch(op, block,
                        dense || smoothed ? cuda::one_block_rows<T, TargetKind::dense>
                                          : cuda::one_block_rows<T, TargetKind::index>,
                        call, report, layout.lane_bits, mean && indexed, o.dx.raw<T>(),
                        none ? nullptr : o.loss.raw<T>());
  }

  // Everything is allocated before the first launch, so that there is no gap between the kernels.
  const bool losses = o.loss && !none;
  const cuda::SumParts parts(device, rows);
  Tensor row_losses, counted;
  if (losses) {
    row_losses = empty({rows}, dtype_of<C>(), device);
    call.losses_to_sum = row_losses.raw<C>();
  }
  if (mean && indexed) {
    counted = empty({2}, DType::f64, device);
    call.divisor.counted = counted.raw<double>();
  }
  std::optional<cuda::RowOperands> operands;
  if (!dense) operands.emplace(std::span(&o.x, 1), o.dx, terms.axis);

  if (indexed && o.weight)
    cuda::launch_sum(op, device, rows, cuda::DivisorSum<T, true>{call, report}, parts);
  else if (indexed)
    cuda::launch_sum(op, device, rows, cuda::DivisorSum<T, false>{call, report}, parts);
  if (dense) {
    const cuda::DenseTiles tiles(rows, classes, call.inner);
    const cuda::Launch blocks{.device = device,
                              .grid = cuda::blocks_for(tiles.count, 1),
                              .block = cuda::DenseTiles::threads,
                              .early = indexed};
    cuda::launch(op, blocks, cuda::dense_rows<T>, call, tiles, o.dx.raw<T>());
  } else if (smoothed) {
    cuda::run_cross_entropy<T, TargetKind::smoothed>(op, *operands, call, indexed);
  } else {
    cuda::run_cross_entropy<T, TargetKind::index>(op, *operands, call, indexed);
  }
  if (losses)
    cuda::launch_sum(op, device, rows, cuda::LossSum<T>{call.losses_to_sum, call.divisor, o.loss.raw<T>()},
                     parts);
}

void run(const char* op, const CrossEntropyTerms& terms, const Operands& o) {
  if (o.x.numel() == 0) {
    const bool mean = terms.reduction == Reduction::mean;
    if (o.loss) cuda::fill_elements(o.loss, mean ? std::numeric_limits<double>::quiet_NaN() : 0);
    return;
  }
  visit_floating(o.x.dtype(), [&]<class T>(Type<T>) { run<T>(op, terms, o); });
}

}  // namespace

void CrossEntropy::cuda(Inputs x, Tensor& loss, std::span<Tensor> aux) const {
  run("cross_entropy", terms,
      {.x = x[0],
       .target = x[1],
       .weight = x[2],
       .cotangent = {},
       .loss = loss,
       .dx = aux.empty() ? Tensor() : aux[0]});
}

void CrossEntropyBackward::cuda(Inputs x, Tensor& dx) const {
  run("cross_entropy_backward", terms,
      {.x = x[0], .target = x[1], .weight = x[2], .cotangent = x[3], .loss = {}, .dx = dx});
}

}  // namespace bobbin
