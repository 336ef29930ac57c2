#include "gemm.h"

#include <bobbin/parallel.h>

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <thread>

#include "strips.h"

namespace bobbin {
namespace {

std::int64_t parts(std::int64_t n, std::int64_t of) { return (n + of - 1) / of; }

template<class T>
Strips<T> strips_of(const Matrix<T>& m, bool rows) {
  const std::int64_t down = m.transposed ? 1 : m.stride, across = m.transposed ? m.stride : 1;
  return rows ? Strips<T>(m.data, m.rows, m.cols, down, across)
              : Strips<T>(m.data, m.cols, m.rows, across, down);
}

// Where a tile of the result lies.
template<class T>
struct Place {
  T* data;
  std::int64_t rows, cols, down, across;
};

// The sums of `place`, whose rows begin at line `row` of a, and whose columns are `part` of b.
template<class T>
void multiply(const Strips<T>& a, const Strips<T>& b, std::int64_t row, const RegisterPart& part,
              const Place<T>& place) {
  constexpr std::int64_t lanes = register_lanes<T>, block = 128;  // terms at a time: those of b stay in L1
  const std::int64_t terms = a.terms(), width = part.count * lanes;
  T whole[sum_rows * sum_registers * lanes];
  for (std::int64_t k = 0; k < terms; k += block)
    for (std::int64_t i = 0; i < place.rows; i += sum_rows) {
      const std::int64_t line = row + i;
      const int rows = static_cast<int>(std::min<std::int64_t>(sum_rows, place.rows - i));
      const auto columns = [from = b.at(part.first, k)](std::int64_t term) { return from + term * lanes; };
      const Terms<T, decltype(columns)> sums{std::min(block, terms - k), a.at(line / lanes, k) + line % lanes,
                                             lanes, columns, b.size()};
      T* const to = place.data + i * place.down;
      if (place.cols == width && place.across == 1) {
        sum_products(rows, part.count, sums, to, place.down, k > 0);
        continue;
      }
      sum_products(rows, part.count, sums, whole, width);
      for (int r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < place.cols; ++j) {
          T& y = to[r * place.down + j * place.across];
          y = k > 0 ? y + whole[r * width + j] : whole[r * width + j];
        }
    }
}

// y = m v, where element k of v is at v[k * step]: there is nothing to be gained from strips.
template<class T, int order>
void multiply_vector(const Matrix<T>& m, const T* v, std::int64_t step, T* y) {
  using Mat = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, order>;
  using Vec = Eigen::Matrix<T, Eigen::Dynamic, 1>;
  Eigen::Map<Vec>(y, m.rows).noalias() =
      Eigen::Map<const Mat, 0, Eigen::OuterStride<>>(m.data, m.rows, m.cols, Eigen::OuterStride<>(m.stride)) *
      Eigen::Map<const Vec, 0, Eigen::InnerStride<>>(v, m.cols, Eigen::InnerStride<>(step));
}
template<class T>
void multiply_vector(const Matrix<T>& a, const Matrix<T>& b, T* y) {
  const bool column = b.cols == 1;  // else y^T = b^T a^T
  const Matrix<T> m = column ? a : Matrix<T>{b.data, b.cols, b.rows, b.stride, !b.transposed};
  const T* const v = column ? b.data : a.data;
  const std::int64_t step = column ? (b.transposed ? 1 : b.stride) : a.transposed ? a.stride : 1;
  m.transposed ? multiply_vector<T, Eigen::ColMajor>(m, v, step, y)
               : multiply_vector<T, Eigen::RowMajor>(m, v, step, y);
}

}  // namespace

template<class T>
void gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, const std::function<void(const Tile<T>&)>& epilogue) {
  constexpr std::int64_t lanes = register_lanes<T>, tile_rows = 64;
  const std::int64_t n = a.rows, m = b.cols, terms = a.cols;
  if (n == 0 || m == 0) return;
  const auto finish = [&](const Tile<T>& tile) {
    if (epilogue) epilogue(tile);
  };
  if (terms == 0 || n == 1 || m == 1) {
    terms == 0 ? void(std::fill_n(c, n * m, T(0))) : multiply_vector(a, b, c);
    return finish({c, 0, 0, n, m, m});
  }
  // Small products are not worth a second thread.
  const auto each = [work = n * m * terms](std::int64_t tasks, auto&& f) {
    if (work > 1 << 19) return parallel_for(tasks, f);
    for (std::int64_t i = 0; i < tasks; ++i) f(i);
  };
  // A few columns would leave lanes empty: they are the rows of the transposed product.
  const bool thin = m < lanes && m < n;
  const Strips<T> rows = thin ? strips_of(b, false) : strips_of(a, true),
                  columns = thin ? strips_of(a, true) : strips_of(b, false);
  const std::int64_t strips = rows.count() + columns.count(), registers = columns.count(),
                     across = RegisterPart::parts(registers);
  // Strips are handed out before tiles: who gets a tile waits for the last strips at most.
  std::atomic<std::int64_t> filled = 0;
  each(strips + parts(rows.lines(), tile_rows) * across, [&](std::int64_t i) {
    if (i < strips) {
      i < rows.count() ? rows.fill(i) : columns.fill(i - rows.count());
      filled.fetch_add(1, std::memory_order_release);
      return;
    }
    while (filled.load(std::memory_order_acquire) < strips) std::this_thread::yield();
    i -= strips;
    const RegisterPart part(registers, i % across);
    const std::int64_t row = i / across * tile_rows, col = part.first * lanes;
    const std::int64_t down = std::min(tile_rows, rows.lines() - row),
                       along = std::min(part.count * lanes, columns.lines() - col);
    if (thin) {
      multiply(rows, columns, row, part, {c + col * m + row, down, along, 1, m});
      finish({c + col * m + row, col, row, along, down, m});
    } else {
      multiply(rows, columns, row, part, {c + row * m + col, down, along, m, 1});
      finish({c + row * m + col, row, col, down, along, m});
    }
  });
}

template void gemm(const Matrix<float>&, const Matrix<float>&, float*,
                   const std::function<void(const Tile<float>&)>&);
template void gemm(const Matrix<double>&, const Matrix<double>&, double*,
                   const std::function<void(const Tile<double>&)>&);

}  // namespace bobbin
