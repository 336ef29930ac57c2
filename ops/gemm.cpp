#include "gemm.h"

#include <bobbin/parallel.h>

#include <algorithm>
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace bobbin {
namespace {

template<class T, int order>
auto map(const Matrix<T>& m, std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
  using Mat = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, order>;
  const std::int64_t start = order == Eigen::RowMajor ? row * m.stride + col : col * m.stride + row;
  return Eigen::Map<const Mat, 0, Eigen::OuterStride<>>(m.data + start, rows, cols,
                                                        Eigen::OuterStride<>(m.stride));
}

template<class T, int order_a, int order_b>
void multiply(const Matrix<T>& a, const Matrix<T>& b, const Tile<T>& t) {
  using Mat = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Mat, 0, Eigen::OuterStride<>> c(t.data, t.rows, t.cols, Eigen::OuterStride<>(t.stride));
  if (a.cols == 0)
    c.setZero();
  else
    c.noalias() = map<T, order_a>(a, t.row, t.rows, 0, a.cols) * map<T, order_b>(b, 0, b.rows, t.col, t.cols);
}

template<class T>
void multiply(const Matrix<T>& a, const Matrix<T>& b, const Tile<T>& t) {
  constexpr int R = Eigen::RowMajor, C = Eigen::ColMajor;
  if (a.transposed)
    b.transposed ? multiply<T, C, C>(a, b, t) : multiply<T, C, R>(a, b, t);
  else
    b.transposed ? multiply<T, R, C>(a, b, t) : multiply<T, R, R>(a, b, t);
}

}  // namespace

template<class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, const std::function<void(const Tile<T>&)>& epilogue) {
  const std::int64_t n = a.rows, m = b.cols;
  if (n == 0 || m == 0) return;
  // A tile packs its part of A and of B, so the longer side is cut; small products are not worth a second
  // thread.
  constexpr std::int64_t side = 128, worthwhile = 1 << 19;
  const bool cut = n * m * std::max<std::int64_t>(a.cols, 1) > worthwhile;
  const std::int64_t tile_rows = cut && n > m ? side : std::min<std::int64_t>(n, cut ? 4 * side : n);
  const std::int64_t tile_cols = cut && n <= m ? side : std::min<std::int64_t>(m, cut ? 4 * side : m);
  const std::int64_t down = (n + tile_rows - 1) / tile_rows, across = (m + tile_cols - 1) / tile_cols;
  parallel_for(down * across, [&](std::int64_t i) {
    const std::int64_t row = i / across * tile_rows, col = i % across * tile_cols;
    const Tile<T> tile{
        c + row * m + col, row, col, std::min(tile_rows, n - row), std::min(tile_cols, m - col), m};
    multiply(a, b, tile);
    if (epilogue) epilogue(tile);
  });
}

template void gemm(const Matrix<float>&, const Matrix<float>&, float*,
                   const std::function<void(const Tile<float>&)>&);
template void gemm(const Matrix<double>&, const Matrix<double>&, double*,
                   const std::function<void(const Tile<double>&)>&);

}  // namespace bobbin
