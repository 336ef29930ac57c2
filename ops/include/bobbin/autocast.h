// Mixed precision: products run in a 16-bit type; parameters and all other tensors stay f32.
//   const Tensor loss = [&] {
//     const Autocast narrow(DType::bf16);
//     return cross_entropy(model(x), labels);
//   }();
//   backward(loss);
#pragma once
#include <bobbin/dtype.h>

#include <optional>

namespace bobbin {

/// RAII: while it lives, matmul, linear and the convolutions of this thread round f32 factors to `dtype`, sum
/// in f32, add an f32 bias and return f32, so gradients, parameters and all other tensors stay f32: f16 300 x
/// 300 is 90000. The derivatives of these operations run in `dtype` too, even if the backward pass runs after
/// the scope, and the gradients of factors are rounded to it. f16 needs a GradScaler (optim.h). Scopes nest;
/// f32 turns it off. Throws DTypeError for other dtypes than bf16, f16 and f32.
class Autocast {
 public:
  /// Begins the scope.
  explicit Autocast(DType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  DType before_;
};
/// The dtype that products of f32 tensors run in on this thread now: f32 outside all scopes.
DType autocast_dtype();

}  // namespace bobbin
