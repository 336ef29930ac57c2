// Runs a CPU kernel over the slices of tensors along one axis. The kernel gets each slice as a contiguous
// row.
#pragma once
#include <bobbin/tensor.h>

#include <array>
#include <memory>
#include <span>

namespace bobbin {

/// `count` rows of the inputs and of the output, `row_bytes` apart.
struct RowBlock {
  std::array<const char*, 4> in;
  char* out;
  std::int64_t first, count, row_bytes;
  bool large;  ///< the output is too large for the caches, and should be stored without using them

  template<class T>
  const T* input(std::size_t k, std::int64_t row) const {
    return reinterpret_cast<const T*>(in[k] + row * row_bytes);
  }
  template<class T>
  T* output(std::int64_t row) const {
    return reinterpret_cast<T*>(out + row * row_bytes);
  }
};

namespace detail {
using RowKernel = void (*)(void* f, const RowBlock&);
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute,
              std::int64_t tile_elements, RowKernel kernel, void* f);
}  // namespace detail

/// Calls f(block) for blocks of slices along `axis` of the inputs (1 to 4, contiguous and of one shape), in
/// parallel. Rows have the type `compute`. A block points into a tensor that has this type and contiguous
/// rows, else into a buffer, so every layout gives the same bits. The result of a row must not depend on its
/// block. If `out` is undefined, the output's rows are scratch space.
template<class F>
void for_row_blocks(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, F&& f,
                    std::int64_t tile_elements = 1 << 14) {
  const auto call = [](void* p, const RowBlock& block) {
    (*static_cast<std::remove_reference_t<F>*>(p))(block);
  };
  detail::for_rows(inputs, out, axis, compute, tile_elements, call, std::addressof(f));
}

/// The same for one row at a time: f(in, out, slice), where `in` are pointers to the inputs' rows (a span of
/// const void*), `out` points to the output's row (void*), and `slice` is the row-major index of the other
/// axes.
template<class F>
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, F&& f) {
  constexpr std::int64_t tile_elements = 1 << 8;  // small, because these kernels need much more time per row
  for_row_blocks(
      inputs, out, axis, compute,
      [&](const RowBlock& block) {
        for (std::int64_t r = 0; r < block.count; ++r) {
          std::array<const void*, 4> in;
          for (std::size_t k = 0; k < in.size(); ++k)
            in[k] = block.in[k] ? block.in[k] + r * block.row_bytes : nullptr;
          f(std::span<const void* const>(in.data(), inputs.size()),
            static_cast<void*>(block.out + r * block.row_bytes), block.first + r);
        }
      },
      tile_elements);
}

}  // namespace bobbin
