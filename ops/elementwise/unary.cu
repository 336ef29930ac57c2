// Functions of one number on a GPU.
#include "ops/elementwise/map.cuh"
#include "ops/elementwise/unary.h"

namespace bobbin {
#define BOBBIN_CUDA(Kind, Op) template void Kind<Op, fn::Op>::cuda(Inputs, Tensor&) const;
BOBBIN_CUDA(Unary, Neg)
BOBBIN_CUDA(Unary, Abs)
BOBBIN_CUDA(Unary, Sign)
BOBBIN_CUDA(Unary, Square)
BOBBIN_CUDA(Unary, Exp)
BOBBIN_CUDA(Unary, Expm1)
BOBBIN_CUDA(Unary, Log)
BOBBIN_CUDA(Unary, Log1p)
BOBBIN_CUDA(Unary, Sqrt)
BOBBIN_CUDA(Unary, Rsqrt)
BOBBIN_CUDA(Unary, Reciprocal)
BOBBIN_CUDA(Unary, Sin)
BOBBIN_CUDA(Unary, Cos)
BOBBIN_CUDA(Unary, Tanh)
BOBBIN_CUDA(Unary, Erf)
BOBBIN_CUDA(Unary, PowScalar)
BOBBIN_CUDA(Unary, Clamp)
#undef BOBBIN_CUDA
}  // namespace bobbin
