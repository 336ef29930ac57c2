// Runs a kernel over the slices of tensors along one axis, each slice laid out as a contiguous row. CPU only.
#pragma once
#include <bobbin/tensor.h>

#include <array>
#include <memory>
#include <span>

namespace bobbin {

/// `count` rows, each `row_bytes` behind the one before, of the inputs and of the output.
struct RowBlock {
  std::array<const char*, 4> in;
  char* out;
  std::int64_t first, count, row_bytes;
  bool large;  ///< the output is a tensor's, which no cache holds: it is best written past them

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
/// parallel. Rows are in `compute` type: in place where they lie so already, else through a buffer, so that
/// every layout gives the same bits. What becomes of a row must not hang on its block. Without `out`, the
/// output's rows are scratch space.
template<class F>
void for_row_blocks(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, F&& f,
                    std::int64_t tile_elements = 1 << 14) {
  const auto call = [](void* p, const RowBlock& block) {
    (*static_cast<std::remove_reference_t<F>*>(p))(block);
  };
  detail::for_rows(inputs, out, axis, compute, tile_elements, call, std::addressof(f));
}

/// The same a row at a time: f(in, out, slice), with a pointer to each input's row (a span of const void*),
/// to the output's (void*), and the slice's number, which counts the other axes in row-major order.
template<class F>
void for_rows(std::span<const Tensor> inputs, const Tensor& out, int axis, DType compute, F&& f) {
  constexpr std::int64_t tile_elements = 1 << 8;  // each takes far longer than in a kernel that takes blocks
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
