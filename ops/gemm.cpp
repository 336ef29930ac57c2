#include "gemm.h"

#include <bobbin/parallel.h>

#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include "lines.h"

namespace bobbin {
namespace {

constexpr std::int64_t tile_rows = 128;

template<class T>
Lines<T> rows_of(const Matrix<T>& m) {
  return {m.data, m.rows, m.cols, m.transposed ? 1 : m.stride, m.transposed ? m.stride : 1};
}
template<class T>
Lines<T> columns_of(const Matrix<T>& m) {
  return {m.data, m.cols, m.rows, m.transposed ? m.stride : 1, m.transposed ? 1 : m.stride};
}

// Where a tile of the result lies.
template<class T>
struct Place {
  T* data;
  std::int64_t rows, cols, down, across;
};

// The sums of `place`, whose rows begin at line `row` of a, and whose columns are `part` of b. Lines of a are
// read where they lie, an element at a time; those of b, which are read for all rows, from a block in L1.
template<class T>
void multiply(const Lines<T>& a, const Lines<T>& b, std::int64_t row, const RegisterPart& part,
              const Place<T>& place) {
  constexpr std::int64_t lanes = register_lanes<T>;
  const std::int64_t width = part.count * lanes;
  // As many terms at a time as a block holds, or as make all of them alike.
  constexpr std::int64_t most_terms = LineBlock<T>::most_terms;
  const std::int64_t times = (a.terms + most_terms - 1) / most_terms,
                     most = ((a.terms + times - 1) / times + lanes - 1) / lanes * lanes;
  LineBlock<T> block;
  const auto columns = [&block](std::int64_t k) { return block.at(k); };
  T whole[sum_rows * sum_registers * lanes];
  // Terms whole pages apart share a set of L1, and a page of the TLB each.
  const bool crowded = a.line == 1 && a.term * sizeof(T) % 4096 == 0;
  constexpr std::int64_t pitch = tile_rows + 16;
  std::vector<T> near(crowded ? most_terms * pitch : 0);
  for (std::int64_t k = 0; k < a.terms; k += most) {
    const std::int64_t terms = std::min(most, a.terms - k);
    block.fill(b, part, k, terms);
    if (crowded)
      for (std::int64_t t = 0; t < terms; ++t)
        std::copy_n(a.at(row, k + t), place.rows, near.data() + t * pitch);
    const auto sum = [&](int rows, std::int64_t i, T* to, std::int64_t to_pitch, bool add) {
      const T* const factors = crowded ? near.data() + i : a.at(row + i, k);
      if (a.line == 1)
        sum_products(rows, part.count,
                     Terms{terms, factors, crowded ? pitch : a.term, Constant<1>(), columns, lanes}, to,
                     to_pitch, add);
      else
        sum_products(rows, part.count, Terms{terms, factors, Constant<1>(), a.line, columns, lanes}, to,
                     to_pitch, add);
    };
    for (std::int64_t i = 0; i < place.rows; i += sum_rows) {
      const int rows = static_cast<int>(std::min<std::int64_t>(sum_rows, place.rows - i));
      T* const to = place.data + i * place.down;
      if (place.across == 1)
        for (int r = 0; r < std::min<std::int64_t>(sum_rows, place.rows - i - sum_rows); ++r) {
          const T* const next = to + (sum_rows + r) * place.down;
          __builtin_prefetch(next, 1);
          __builtin_prefetch(next + place.cols - 1, 1);
        }
      if (place.cols == width && place.across == 1) {
        sum(rows, i, to, place.down, k > 0);
        continue;
      }
      sum(rows, i, whole, width, false);
      for (int r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < place.cols; ++j) {
          T& y = to[r * place.down + j * place.across];
          y = k > 0 ? y + whole[r * width + j] : whole[r * width + j];
        }
    }
  }
}

// y = m v, where element k of v is at v[k * step]: there is nothing to be gained from registers.
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
  constexpr std::int64_t lanes = register_lanes<T>;
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
  const Lines<T> rows = thin ? columns_of(b) : rows_of(a), columns = thin ? rows_of(a) : columns_of(b);
  const std::int64_t registers = (columns.count + lanes - 1) / lanes,
                     fewest = RegisterPart::fewest(registers),
                     tiles = (rows.count + tile_rows - 1) / tile_rows;
  // An even number, where there are few: they are shared out to cores.
  const std::int64_t across = tiles == 1 && fewest > 2 ? fewest + fewest % 2 : fewest;
  each(tiles * across, [&](std::int64_t i) {
    const RegisterPart part(registers, across, i % across);
    const std::int64_t row = i / across * tile_rows, col = part.first * lanes;
    const std::int64_t down = std::min(tile_rows, rows.count - row),
                       along = std::min(part.count * lanes, columns.count - col);
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
