// Matrix products on the CPU.
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

/// A part of the result, just computed: rows [row, row + rows) and columns [col, col + cols) of a row-major
/// matrix with `stride` elements a row; `data` is its first element.
template<class T>
struct Tile {
  T* data;
  std::int64_t row, col, rows, cols, stride;
};

/// C = A B, row-major, for float and double, in tiles that threads share, if need be with those of other
/// products. Tiles depend on the shapes alone, and each is one product, so results do not depend on the
/// number of threads.
template<class T>
class Product {
 public:
  Product(const Matrix<T>& a, const Matrix<T>& b, T* c);
  std::int64_t tiles() const { return tiles_; }
  std::int64_t multiplications() const { return a_.rows * a_.cols * b_.cols; }
  Tile<T> compute(std::int64_t tile) const;

 private:
  bool is_vector() const;  ///< one tile: there is nothing to be gained from registers
  bool is_thin() const;    ///< the columns would leave lanes empty: they are rows of the transposed product

  Matrix<T> a_, b_;
  T* c_;
  std::int64_t registers_ = 0, across_ = 1, tiles_;
};

/// f(tile) for all tiles, on several threads where there are multiplications enough.
template<class F>
void share_tiles(std::int64_t tiles, std::int64_t multiplications, F&& f) {
  if (multiplications > 1 << 17) return parallel_for(tiles, f);
  for (std::int64_t i = 0; i < tiles; ++i) f(i);
}

/// C = A B; then epilogue(tile) for each tile while it is in the cache.
template<class T, class F>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, F&& epilogue) {
  const Product<T> product(a, b, c);
  share_tiles(product.tiles(), product.multiplications(),
              [&](std::int64_t i) { epilogue(product.compute(i)); });
}
template<class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c) {
  gemm(a, b, c, [](const Tile<T>&) {});
}

}  // namespace bobbin
