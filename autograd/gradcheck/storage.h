// What must not matter: how elements lie in memory, and what else is in a batch.
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
Tensor laid_out(const Tensor& x, Layout);

/// What is wrong where one line says it; empty where all is right.
/// f of inputs that lie in this way, and its gradients, are those of contiguous inputs with the same
/// elements, up to the order of sums.
std::string compare_layout(const std::function<Tensor(Inputs)>& f, Inputs, Layout, std::uint64_t seed);
/// No row of the result or of the first input's gradient changes by a bit where all other rows are NaN.
std::string compare_rows(const std::function<Tensor(Inputs)>& f, Inputs, std::uint64_t seed);

}  // namespace bobbin::gradcheck_detail
