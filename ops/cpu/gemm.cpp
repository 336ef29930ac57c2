#include "ops/cpu/gemm.h"

#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include "core/ceil_div.h"
#include "ops/cpu/lines.h"

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
  const std::int64_t times = ceil_div(a.terms, most_terms),
                     most = ceil_div(ceil_div(a.terms, times), lanes) * lanes;
  LineBlock<T> block;
  const auto columns = [&block](std::int64_t k) { return block.at(k); };
  T whole[sum_rows * sum_registers * lanes];
  // Terms whole pages apart share a set of L1, and a page of the TLB each.
  const bool crowded = a.line == 1 && a.term * sizeof(T) % 4096 == 0;
  constexpr std::int64_t pitch = tile_rows + 16;
  std::vector<T> near(crowded ? most * pitch : 0);
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
      if (place.across == 1)  // what is written next was last in another core's cache, or in none
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
bool Product<T>::is_vector() const {
  return a_.cols == 0 || a_.rows == 1 || b_.cols == 1;
}

template<class T>
bool Product<T>::is_thin() const {
  return b_.cols < 2 * register_lanes<T> && b_.cols < a_.rows;
}

template<class T>
Product<T>::Product(const Matrix<T>& a, const Matrix<T>& b, T* c)
    : a_(a), b_(b), c_(c), tiles_(a.rows == 0 || b.cols == 0 ? 0 : 1) {
  if (tiles_ == 0 || is_vector()) return;
  constexpr std::int64_t lanes = register_lanes<T>;
  const std::int64_t rows = is_thin() ? b.cols : a.rows, columns = is_thin() ? a.rows : b.cols;
  tiles_ = ceil_div(rows, tile_rows);
  registers_ = ceil_div(columns, lanes);
  across_ = RegisterPart::fewest(registers_);
  // An even number, where there are few: they are shared out to cores.
  if (tiles_ == 1 && across_ > 2) across_ += across_ % 2;
  tiles_ *= across_;
}

template<class T>
Tile<T> Product<T>::compute(std::int64_t i) const {
  const std::int64_t m = b_.cols;
  if (is_vector()) {
    a_.cols == 0 ? void(std::fill_n(c_, a_.rows * m, T(0))) : multiply_vector(a_, b_, c_);
    return {c_, 0, 0, a_.rows, m, m};
  }
  const bool thin = is_thin();
  const Lines<T> rows = thin ? columns_of(b_) : rows_of(a_), columns = thin ? rows_of(a_) : columns_of(b_);
  const RegisterPart part(registers_, across_, i % across_);
  const std::int64_t row = i / across_ * tile_rows, col = part.first * register_lanes<T>;
  const std::int64_t down = std::min(tile_rows, rows.count - row),
                     along = std::min(part.count * register_lanes<T>, columns.count - col);
  T* const to = thin ? c_ + col * m + row : c_ + row * m + col;
  multiply(rows, columns, row, part, {to, down, along, thin ? 1 : m, thin ? m : 1});
  return thin ? Tile<T>{to, col, row, along, down, m} : Tile<T>{to, row, col, down, along, m};
}

template class Product<float>;
template class Product<double>;

}  // namespace bobbin
