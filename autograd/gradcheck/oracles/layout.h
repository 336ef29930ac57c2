// Checks that results depend neither on the strides of the inputs nor on the other rows of a batch.
#pragma once
#include <bobbin/op.h>

#include <functional>
#include <string>
#include <string_view>

namespace bobbin::gradcheck_detail {

enum class Layout {
  contiguous,
  strided,   ///< gaps between the elements, and the axes in reverse order
  expanded,  ///< the first row once, repeated by a stride of 0
};
std::string_view name(Layout);
/// A copy of x in this layout.
Tensor laid_out(const Tensor& x, Layout);

/// Both checks return an empty text, or describe the error in one line.
///
/// f of inputs in this layout, and its gradients, must be the same as for contiguous inputs with the same
/// elements, up to the order of sums.
std::string compare_layout(const std::function<Tensor(Inputs)>& f, Inputs, Layout, std::uint64_t seed);
/// No bit of a row of the result and of the first input's gradient may change when all other rows are NaN.
std::string compare_rows(const std::function<Tensor(Inputs)>& f, Inputs, std::uint64_t seed);

}  // namespace bobbin::gradcheck_detail
