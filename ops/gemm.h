// Matrix products on the CPU.
#pragma once
#include <cstdint>
#include <functional>

namespace bobbin {

/// A matrix in memory: element (i, j) at data[i * stride + j], or data[j * stride + i] when transposed.
template<class T>
struct Matrix {
  const T* data;
  std::int64_t rows, cols, stride;
  bool transposed = false;
};

/// A part of the result, just computed: rows [row, row + rows) and columns [col, col + cols) of a row-major
/// matrix with `stride` elements a row; `data` is its first element.
template<class T>
struct Tile {
  T* data;
  std::int64_t row, col, rows, cols, stride;
};

/// C = A B, row-major, for float and double; then epilogue(tile) for each tile while it is in the cache.
/// Tiles depend on the shapes alone, and each is one product, so results do not depend on the number of
/// threads.
template<class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c,
          const std::function<void(const Tile<T>&)>& epilogue = {});

}  // namespace bobbin
