// Cross-entropy with label smoothing, through the row engine. It is a separate source because it takes long
// to compile.
#include "ops/cuda/rows/run.cuh"
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

template<class T, TargetKind kind>
void run_cross_entropy(std::string_view op, const RowOperands& rows, const CrossEntropyCall<T>& call,
                       bool early) {
  run_rows(op, rows, CrossEntropyRow<T, kind>{call}, early);
}

#define BOBBIN_CROSS_ENTROPY(T)                                                                  \
  template void run_cross_entropy<T, TargetKind::smoothed>(std::string_view, const RowOperands&, \
                                                           const CrossEntropyCall<T>&, bool);
BOBBIN_CROSS_ENTROPY(double)
BOBBIN_CROSS_ENTROPY(float)
BOBBIN_CROSS_ENTROPY(BFloat16)
BOBBIN_CROSS_ENTROPY(Half)
#undef BOBBIN_CROSS_ENTROPY

}  // namespace bobbin::cuda
