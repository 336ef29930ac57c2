// Matrix products on the CPU, in tiles that threads share.
#pragma once
#include <bobbin/parallel.h>

#include <cstdint>

namespace bobbin {

/// A matrix in memory: element (i, j) at data[i * stride + j], or data[j * stride + i] when transposed.
template<class T>
struct Matrix {
  const T* data;
  std::int64_t rows, cols, stride;
  bool transposed = false;
};

/// A part of a row-major result, just computed: rows [row, row + rows) and columns [col, col + cols). `data`
/// is its first element, and rows are `stride` elements apart.
template<class T>
struct Tile {
  T* data;
  std::int64_t row, col, rows, cols, stride;
};

/// C = A B, or C + A B if it `accumulates`, row-major, for float and double. The tiles of several products
/// can be computed in one parallel loop. The division into tiles depends on the shapes alone, so results do
/// not depend on the number of threads.
template<class T>
class Gemm {
 public:
  Gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, bool accumulates = false);
  std::int64_t tiles() const { return tiles_; }
  std::int64_t multiplications() const { return a_.rows * a_.cols * b_.cols; }
  Tile<T> compute(std::int64_t tile) const;

 private:
  bool is_vector() const;  ///< A or B is a vector: one tile, computed without packing
  bool is_thin() const;    ///< C has few columns: C^T = B^T A^T is computed, to fill the registers

  Matrix<T> a_, b_;
  T* c_;
  bool accumulates_;
  std::int64_t registers_ = 0, across_ = 1, tiles_;
};

/// f(tile) for all tiles, in parallel where there are enough multiplications.
template<class F>
void share_tiles(std::int64_t tiles, std::int64_t multiplications, F&& f) {
  if (multiplications > 1 << 17) return parallel_for(tiles, f);
  for (std::int64_t i = 0; i < tiles; ++i) f(i);
}

/// C = A B; then epilogue(tile) for each tile while it is in the cache.
template<class T, class F>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, F&& epilogue) {
  const Gemm<T> product(a, b, c);
  share_tiles(product.tiles(), product.multiplications(),
              [&](std::int64_t i) { epilogue(product.compute(i)); });
}
template<class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c) {
  gemm(a, b, c, [](const Tile<T>&) {});
}
/// C += A B.
template<class T>
void add_gemm(const Matrix<T>& a, const Matrix<T>& b, T* c) {
  const Gemm<T> product(a, b, c, true);
  share_tiles(product.tiles(), product.multiplications(), [&](std::int64_t i) { product.compute(i); });
}

}  // namespace bobbin
