// Mixed precision: parameters and all else stay f32, products run in a 16-bit type.
//   const Tensor loss = [&] { const Autocast narrow(DType::bf16); return cross_entropy(model(x), labels);
//   }(); backward(loss);
#pragma once
#include <bobbin/dtype.h>

#include <optional>

namespace bobbin {

/// RAII: while it lives, matmul, linear and the convolutions of this thread round f32 inputs to `dtype`, sum
/// in f32 and give f32 again, so that nothing else, gradients and parameters among it, sees another dtype.
/// Their derivatives run in `dtype` too, also where the walk comes after the scope; f16 wants a GradScaler
/// (optim.h). Scopes nest; f32 turns it off. Throws DTypeError for other dtypes than bf16, f16 and f32.
class Autocast {
 public:
  /// Begins.
  explicit Autocast(DType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  DType before_;
};
/// What products of f32 tensors run in on this thread now: f32 outside all scopes.
DType autocast_dtype();

}  // namespace bobbin
