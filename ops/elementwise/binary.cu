// Functions of two numbers, comparisons and choice on a GPU.
#include "ops/elementwise/binary.h"
#include "ops/elementwise/map.cuh"

namespace bobbin {

BOBBIN_BINARY_OPS(BOBBIN_INSTANTIATE_CUDA)
BOBBIN_COMPARISON_OPS(BOBBIN_INSTANTIATE_CUDA)

void Where::cuda(Inputs x, Tensor& y) const {
  detail::visit_compute<fn::Where>(y.dtype(),
                                   [&]<class T>(Type<T>) { cuda::map<bool, T, T>(name, fn::Where{}, x, y); });
}

}  // namespace bobbin
