// Cross-entropy through the row engine: a source of its own, for it takes long to compile.
#include "cross_entropy_row.cuh"
#include "row_run.cuh"

namespace bobbin::cuda {

template<class T>
void run_cross_entropy(std::string_view op, const Tensor& x, const Tensor& dx, int axis,
                       const CrossEntropyCall<T>& call) {
  const RowOperands rows({&x, 1}, dx, axis);
  if (dx)
    run_rows(op, rows, CrossEntropyRow<T, false, true>{call});
  else
    run_rows(op, rows, CrossEntropyRow<T, false, false>{call});
}

template void run_cross_entropy(std::string_view, const Tensor&, const Tensor&, int,
                                const CrossEntropyCall<double>&);
template void run_cross_entropy(std::string_view, const Tensor&, const Tensor&, int,
                                const CrossEntropyCall<float>&);
template void run_cross_entropy(std::string_view, const Tensor&, const Tensor&, int,
                                const CrossEntropyCall<BFloat16>&);
template void run_cross_entropy(std::string_view, const Tensor&, const Tensor&, int,
                                const CrossEntropyCall<Half>&);

}  // namespace bobbin::cuda
