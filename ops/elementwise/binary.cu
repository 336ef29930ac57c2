// Functions of two numbers, comparisons and choice on a GPU.
#include "ops/elementwise/binary.h"
#include "ops/elementwise/map.cuh"

namespace bobbin {
#define BOBBIN_CUDA(Kind, Op) template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
BOBBIN_CUDA(Binary, Add)
BOBBIN_CUDA(Binary, Sub)
BOBBIN_CUDA(Binary, Mul)
BOBBIN_CUDA(Binary, Div)
BOBBIN_CUDA(Binary, Pow)
BOBBIN_CUDA(Binary, Maximum)
BOBBIN_CUDA(Binary, Minimum)
BOBBIN_CUDA(Binary, Eq)
BOBBIN_CUDA(Binary, Ne)
BOBBIN_CUDA(Binary, Lt)
BOBBIN_CUDA(Binary, Le)
BOBBIN_CUDA(Binary, Gt)
BOBBIN_CUDA(Binary, Ge)
#undef BOBBIN_CUDA

void Where::cuda(Inputs x, Tensor& y) const {
  detail::visit_compute<fn::Where>(y.dtype(),
                                   [&]<class T>(Type<T>) { cuda::map<bool, T, T>(name, fn::Where{}, x, y); });
}

}  // namespace bobbin
