// The one list of elementwise operations. The catalogue, the CUDA kernels, the references of the gradient
// checker and the ONNX exporter are generated from it.
#pragma once

/// X(Kind, Op) for each operation: a struct Op that is a Unary, Binary or Ternary of the functor fn::Op
/// (map.h). The smooth ones are Smooth (smooth.h): each also has the operation Backward<Op>, its derivative.
#define BOBBIN_SMOOTH_UNARY_OPS(X) \
  X(Unary, Square)                 \
  X(Unary, Expm1)                  \
  X(Unary, Log1p)                  \
  X(Unary, Sqrt)                   \
  X(Unary, Rsqrt)                  \
  X(Unary, Reciprocal)             \
  X(Unary, Sin)                    \
  X(Unary, Cos)                    \
  X(Unary, Tanh)                   \
  X(Unary, Erf)                    \
  X(Unary, PowScalar)

#define BOBBIN_UNARY_OPS(X) \
  X(Unary, Neg)             \
  X(Unary, Abs)             \
  X(Unary, Sign)            \
  X(Unary, Exp)             \
  X(Unary, Log)             \
  X(Unary, Clamp)           \
  BOBBIN_SMOOTH_UNARY_OPS(X)

#define BOBBIN_SMOOTH_ACTIVATION_OPS(X) \
  X(Unary, Sigmoid)                     \
  X(Unary, Elu)                         \
  X(Unary, Silu)                        \
  X(Unary, Softplus)                    \
  X(Unary, GeluErf)                     \
  X(Unary, GeluTanh)

#define BOBBIN_ACTIVATION_OPS(X) \
  X(Unary, Relu)                 \
  X(Unary, LeakyRelu)            \
  BOBBIN_SMOOTH_ACTIVATION_OPS(X)

#define BOBBIN_SMOOTH_OPS(X) \
  BOBBIN_SMOOTH_UNARY_OPS(X) \
  BOBBIN_SMOOTH_ACTIVATION_OPS(X)

/// Derivatives that are separate operations, besides those of the smooth functions.
#define BOBBIN_BACKWARD_OPS(X) \
  X(Binary, ReluBackward)      \
  X(Ternary, DivBackward)      \
  X(Ternary, PowBackward)      \
  X(Ternary, MaximumBackward)  \
  X(Ternary, MinimumBackward)

#define BOBBIN_BINARY_OPS(X) \
  X(Binary, Add)             \
  X(Binary, Sub)             \
  X(Binary, Mul)             \
  X(Binary, Div)             \
  X(Binary, Pow)             \
  X(Binary, Maximum)         \
  X(Binary, Minimum)

#define BOBBIN_COMPARISON_OPS(X) \
  X(Binary, Eq)                  \
  X(Binary, Ne)                  \
  X(Binary, Lt)                  \
  X(Binary, Le)                  \
  X(Binary, Gt)                  \
  X(Binary, Ge)

#define BOBBIN_LOSS_OPS(X) \
  X(Binary, SquaredError)  \
  X(Binary, AbsoluteError) \
  X(Binary, Huber)         \
  X(Binary, BceWithLogits) \
  X(Binary, KlDiv)

namespace bobbin {

/// Whether an operation is in the list. Unary and Binary check it at compile time, so no operation is left
/// out.
template<class Op>
inline constexpr bool is_listed = false;

#define BOBBIN_LISTED(Kind, Op) \
  struct Op;                    \
  template<>                    \
  inline constexpr bool is_listed<Op> = true;
BOBBIN_UNARY_OPS(BOBBIN_LISTED)
BOBBIN_ACTIVATION_OPS(BOBBIN_LISTED)
BOBBIN_BACKWARD_OPS(BOBBIN_LISTED)
BOBBIN_BINARY_OPS(BOBBIN_LISTED)
BOBBIN_COMPARISON_OPS(BOBBIN_LISTED)
BOBBIN_LOSS_OPS(BOBBIN_LISTED)
#undef BOBBIN_LISTED
template<class Op>
struct Backward;
template<class Op>
inline constexpr bool is_listed<Backward<Op>> = is_listed<Op>;

}  // namespace bobbin
