// Runs a kernel over the slices of tensors along one axis, each slice laid out as a contiguous row. CPU only.
#pragma once
#include <bobbin/tensor.h>

#include <memory>
#include <span>

namespace bobbin {

namespace detail {
using RowKernel = void (*)(void* f, std::span<const void* const> in, void* out, std::int64_t slice);
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, RowKernel kernel,
              void* f);
}  // namespace detail

/// Calls f(in, out, slice) for every slice along `axis` of the inputs (1 to 4, contiguous and of one shape),
/// in parallel: with the inputs' rows (a span of const void*), the output's (void*), and the slice's number,
/// which counts the other axes in row-major order. Rows are in `compute` type: in place where they lie so
/// already, else through a buffer, so that every layout gives the same bits. Without `out`, the output row is
/// scratch space.
template<class F>
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, F&& f) {
  const auto call = [](void* p, std::span<const void* const> in, void* y, std::int64_t slice) {
    (*static_cast<std::remove_reference_t<F>*>(p))(in, y, slice);
  };
  detail::for_rows(inputs, out, axis, compute, call, std::addressof(f));
}

}  // namespace bobbin
