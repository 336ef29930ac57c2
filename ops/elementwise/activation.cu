// Activation functions on a GPU.
#include "ops/elementwise/activation.h"
#include "ops/elementwise/map.cuh"

namespace bobbin {
#define BOBBIN_CUDA(Kind, Op) template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
BOBBIN_CUDA(Unary, Relu)
BOBBIN_CUDA(Unary, LeakyRelu)
BOBBIN_CUDA(Unary, Elu)
BOBBIN_CUDA(Unary, Sigmoid)
BOBBIN_CUDA(Unary, Silu)
BOBBIN_CUDA(Unary, Softplus)
BOBBIN_CUDA(Unary, GeluErf)
BOBBIN_CUDA(Unary, GeluTanh)
#undef BOBBIN_CUDA
template void Binary<ReluBackward, fn::ReluBackward>::cuda(Inputs, Tensor&) const;
}  // namespace bobbin
