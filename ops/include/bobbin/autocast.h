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

/// What products of f32 tensors give under Autocast.
enum class ProductResults {
  f32,     ///< their f32 sums, to which an f32 bias is added: f16 300 x 300 is 90000
  narrow,  ///< their f32 sums rounded to Autocast's dtype, as in PyTorch: half the memory and traffic
};

/// RAII: while it lives, matmul, linear and the convolutions of this thread round f32 factors to `dtype`, and
/// sum in f32. Parameters and their gradients stay f32. The derivatives of these operations run in `dtype`
/// too, even if the backward pass runs after the scope, and the gradients of factors are rounded to it. f16
/// needs a GradScaler (optim.h). Scopes nest; f32 turns it off. Throws DTypeError for other dtypes than bf16,
/// f16 and f32.
///
/// By default all tensors stay f32. With ProductResults::narrow, what follows a product is of `dtype`, as
/// long as all operands are: elementwise functions (computed in f32, and rounded once), dropout, views,
/// attention. An operation on two numbers and concat take f32 beside `dtype`, and give f32. Softmax,
/// normalisations, sums and other reductions over many numbers, cumsum and losses take operands of `dtype` as
/// f32, and give f32.
class Autocast {
 public:
  /// Begins the scope.
  explicit Autocast(DType dtype, ProductResults = ProductResults::f32);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  DType before_;
  ProductResults results_before_;
};
/// The dtype that products of f32 tensors run in on this thread now: f32 outside all scopes.
DType autocast_dtype();
/// What they give then: f32 outside all scopes.
ProductResults autocast_results();

}  // namespace bobbin
