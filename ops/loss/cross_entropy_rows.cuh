// run_cross_entropy, instantiated for one kind of targets. Each kind has a source because it takes long to
// compile.
#pragma once
#include "ops/cuda/rows/run.cuh"
#include "ops/loss/cross_entropy_functor.cuh"

#define BOBBIN_INSTANTIATE(T, kind)                                                          \
  template void run_cross_entropy<T, TargetKind::kind>(std::string_view, const RowOperands&, \
                                                       const CrossEntropyCall<T>&, bool);
/// To be used once in a source.
#define BOBBIN_CROSS_ENTROPY(kind)   \
  BOBBIN_INSTANTIATE(double, kind)   \
  BOBBIN_INSTANTIATE(float, kind)    \
  BOBBIN_INSTANTIATE(BFloat16, kind) \
  BOBBIN_INSTANTIATE(Half, kind)

namespace bobbin::cuda {

template<class T, TargetKind kind>
void run_cross_entropy(std::string_view op, const RowOperands& rows, const CrossEntropyCall<T>& call,
                       bool early) {
  run_rows(op, rows, CrossEntropyRow<T, kind>{call}, early);
}

}  // namespace bobbin::cuda
