// Matrix products on the CPU: packs a panel of B into the L1 cache and multiplies blocks of rows of A by it
// in registers. Eigen computes products with a vector.
#include "ops/cpu/gemm.h"

#include <Eigen/Core>
#include <algorithm>
#include <functional>
#include <type_traits>
#include <vector>

#include "core/ceil_div.h"
#include "ops/cpu/registers.h"
#include "ops/cpu/vectors.h"

namespace bobbin {
namespace {

using simd::Constant, simd::Register, simd::register_lanes, simd::RegisterPart, simd::sum_registers,
    simd::sum_rows;

constexpr std::int64_t tile_rows = 128;

// One running sum of many f32 numbers loses digits: 1e7 equal terms, 9 % of the result. Sums of more than
// long_depth terms are formed in runs of run_depth terms, chunks of chunk_depth, and then in f64.
constexpr std::int64_t long_depth = 8192, chunk_depth = 2048, run_depth = 64;
template<class T>
bool is_long(std::int64_t depth) {
  return sizeof(T) == 4 && depth > long_depth;
}

// An operand as `count` vectors of `depth` elements: the rows of A, or the columns of B. Element k of vector
// i is at data[i * step + k * depth_step]; one of the two steps is 1.
template<class T>
struct Operand {
  const T* data;
  std::int64_t count, depth, step, depth_step;
  const T* at(std::int64_t i, std::int64_t k) const { return data + i * step + k * depth_step; }
};

template<class T>
Operand<T> rows_of(const Matrix<T>& m) {
  return {m.data, m.rows, m.cols, m.transposed ? 1 : m.stride, m.transposed ? m.stride : 1};
}
template<class T>
Operand<T> columns_of(const Matrix<T>& m) {
  return {m.data, m.cols, m.rows, m.transposed ? m.stride : 1, m.transposed ? 1 : m.stride};
}

// A part of the columns of B, packed as the sums read it: for each k, one element of every column.
template<class T>
class Panel {
 public:
  static constexpr std::int64_t lanes = register_lanes<T>,
                                max_depth = (24 << 10) / (sum_registers * simd::register_bytes);  // fits L1

  /// Elements k to k + depth of the columns of `part`. Columns beyond the last one are undefined.
  void pack(const Operand<T>& from, const RegisterPart& part, std::int64_t k, std::int64_t depth) {
    width_ = part.count * lanes;
    const std::int64_t first = part.first * lanes, n = std::min(width_, from.count - first);
    if (from.step == 1)
      copy(from.at(first, k), n, from.depth_step, depth);
    else
      for (std::int64_t j = 0; j < n; j += lanes)
        transpose(from.at(first + j, k), std::min(lanes, n - j), from.step, depth, data_ + j);
  }
  const T* at(std::int64_t k) const { return data_ + k * width_; }

 private:
  using R = Register<T>;

  void copy(const T* from, std::int64_t n, std::int64_t step, std::int64_t depth) {
    T* to = data_;
    for (std::int64_t k = 0; k < depth; ++k, from += step, to += width_) {
      std::int64_t j = 0;
      for (; j + lanes <= n; j += lanes) simd::store_register(to + j, simd::load_register(from + j));
      for (; j < n; ++j) to[j] = from[j];
    }
  }
  // Columns beyond n repeat the last one.
  void transpose(const T* from, std::int64_t n, std::int64_t step, std::int64_t depth, T* to) const {
    std::int64_t k = 0;
    for (; k + lanes <= depth; k += lanes) {
      R square[lanes];
      for (std::int64_t i = 0; i < lanes; ++i)
        square[i] = simd::load_register(from + std::min(i, n - 1) * step + k);
      simd::transpose(square);
      for (std::int64_t i = 0; i < lanes; ++i) simd::store_register(to + (k + i) * width_, square[i]);
    }
    for (; k < depth; ++k)
      for (std::int64_t i = 0; i < n; ++i) to[k * width_ + i] = from[i * step + k];
  }

  std::int64_t width_ = 0;
  alignas(64) T data_[max_depth * sum_registers * lanes];
};

// Where a tile of the result, or of its transpose, is stored.
template<class T>
struct Output {
  T* data;
  std::int64_t rows, cols, row_step, col_step;
};

// Computes one tile: rows of A from `row` on times the columns `part` of B, added to what `out` holds if it
// `accumulates`. Elements of A are read from where they are; those of B, which all rows use, from a panel in
// L1.
template<class T>
void multiply(const Operand<T>& a, const Operand<T>& b, std::int64_t row, const RegisterPart& part,
              const Output<T>& out, bool accumulates) {
  constexpr std::int64_t lanes = register_lanes<T>;
  const std::int64_t width = part.count * lanes;
  const std::int64_t chunk = is_long<T>(a.depth) ? chunk_depth : a.depth,
                     run = is_long<T>(a.depth) ? run_depth : a.depth;
  // A chunk is divided into as few panels as possible, of nearly equal depth.
  const std::int64_t panels = ceil_div(chunk, Panel<T>::max_depth),
                     step = ceil_div(ceil_div(chunk, panels), lanes) * lanes;
  Panel<T> panel;
  T partial[sum_rows * sum_registers * lanes];
  // A is copied if elements of one row are a multiple of 4096 bytes apart: they would share a set of L1, and
  // each would need a separate TLB entry.
  const bool copies = a.step == 1 && a.depth_step * sizeof(T) % 4096 == 0;
  constexpr std::int64_t pitch = tile_rows + 16;
  std::vector<T> copy(copies ? step * pitch : 0);
  std::vector<double> totals(is_long<T>(a.depth) ? static_cast<std::size_t>(out.rows * out.cols) : 0);
  if (accumulates && !totals.empty())
    for (std::int64_t i = 0; i < out.rows; ++i)
      for (std::int64_t j = 0; j < out.cols; ++j)
        totals[static_cast<std::size_t>(i * out.cols + j)] =
            static_cast<double>(out.data[i * out.row_step + j * out.col_step]);
  const bool adds = accumulates && totals.empty();
  for (std::int64_t begin = 0; begin < a.depth; begin += chunk) {
    const std::int64_t end = std::min(a.depth, begin + chunk);
    for (std::int64_t k = begin; k < end; k += step) {
      const std::int64_t depth = std::min(step, end - k);
      panel.pack(b, part, k, depth);
      if (copies)
        for (std::int64_t t = 0; t < depth; ++t)
          std::copy_n(a.at(row, k + t), out.rows, copy.data() + t * pitch);
      const auto sum_run = [&](int rows, std::int64_t i, std::int64_t first, T* to, std::int64_t to_pitch,
                               bool add) {
        const auto columns = [&panel, first](std::int64_t t) { return panel.at(first + t); };
        const T* const factors = copies ? copy.data() + i + first * pitch : a.at(row + i, k + first);
        const std::int64_t terms = std::min(run, depth - first);
        if (a.step == 1)
          sum_products(
              rows, part.count,
              simd::Terms{terms, factors, copies ? pitch : a.depth_step, Constant<1>(), columns, lanes}, to,
              to_pitch, add);
        else
          sum_products(rows, part.count, simd::Terms{terms, factors, Constant<1>(), a.step, columns, lanes},
                       to, to_pitch, add);
      };
      const auto sum = [&](int rows, std::int64_t i, T* to, std::int64_t to_pitch, bool add) {
        for (std::int64_t first = 0; first < depth; first += run)
          sum_run(rows, i, first, to, to_pitch, add || first > 0);
      };
      for (std::int64_t i = 0; i < out.rows; i += sum_rows) {
        const int rows = static_cast<int>(std::min<std::int64_t>(sum_rows, out.rows - i));
        T* const to = out.data + i * out.row_step;
        if (out.col_step == 1)  // the next rows of C are in no cache, or in another core's
          for (int r = 0; r < std::min<std::int64_t>(sum_rows, out.rows - i - sum_rows); ++r) {
            const T* const next = to + (sum_rows + r) * out.row_step;
            __builtin_prefetch(next, 1);
            __builtin_prefetch(next + out.cols - 1, 1);
          }
        if (out.cols == width && out.col_step == 1) {
          sum(rows, i, to, out.row_step, adds || k > begin);
          continue;
        }
        sum(rows, i, partial, width, false);
        for (int r = 0; r < rows; ++r)
          for (std::int64_t j = 0; j < out.cols; ++j) {
            T& y = to[r * out.row_step + j * out.col_step];
            y = adds || k > begin ? y + partial[r * width + j] : partial[r * width + j];
          }
      }
    }
    if (totals.empty()) continue;
    double* total = totals.data();  // the result holds the chunk's sums
    for (std::int64_t i = 0; i < out.rows; ++i)
      for (std::int64_t j = 0; j < out.cols; ++j, ++total) {
        T& y = out.data[i * out.row_step + j * out.col_step];
        *total += static_cast<double>(y);
        if (end == a.depth) y = static_cast<T>(*total);
      }
  }
}

// y = m v, where element k of v is at v[k * step].
template<class T, int order>
void multiply_vector(const Matrix<T>& m, const T* v, std::int64_t step, T* y) {
  using Mat = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, order>;
  using Vec = Eigen::Matrix<T, Eigen::Dynamic, 1>;
  Eigen::Map<Vec>(y, m.rows).noalias() =
      Eigen::Map<const Mat, 0, Eigen::OuterStride<>>(m.data, m.rows, m.cols, Eigen::OuterStride<>(m.stride)) *
      Eigen::Map<const Vec, 0, Eigen::InnerStride<>>(v, m.cols, Eigen::InnerStride<>(step));
}

// The sum of n products: at most run_depth in each lane of four registers. Elements outside of them are few.
float dot(const float* a, const float* b, std::int64_t n) {
  using R = Register<float>;
  constexpr std::int64_t lanes = register_lanes<float>;
  R sum[4] = {};
  float rest = 0;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (std::int64_t k = 0; k < 4; ++k)
      sum[k] += simd::load_register(a + i + k * lanes) * simd::load_register(b + i + k * lanes);
  for (; i < n; ++i) rest += a[i] * b[i];
  sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return rest + simd::reduce_lanes<float>(sum[0], [](const R& x, const R& y) { return x + y; });
}

// The same for sums of many terms (is_long), chunk by chunk.
void multiply_long_vector(const Matrix<float>& m, const float* v, std::int64_t step, float* y) {
  std::vector<double> totals(static_cast<std::size_t>(m.rows));
  // One row is read as such, whichever way it is stored.
  const bool along = !m.transposed || (m.rows == 1 && m.stride == 1);
  const std::int64_t chunk = along ? 4 * register_lanes<float> * run_depth : run_depth;
  std::vector<float> copy(static_cast<std::size_t>(step == 1 ? 0 : chunk)),
      sums(static_cast<std::size_t>(along ? 0 : m.rows));
  for (std::int64_t k = 0; k < m.cols; k += chunk) {
    const std::int64_t n = std::min(chunk, m.cols - k);
    for (std::int64_t i = 0; step != 1 && i < n; ++i) copy[static_cast<std::size_t>(i)] = v[(k + i) * step];
    const float* const part = step == 1 ? v + k : copy.data();
    if (!along)
      multiply_vector<float, Eigen::ColMajor>({m.data + k * m.stride, m.rows, n, m.stride, true}, part, 1,
                                              sums.data());
    for (std::int64_t i = 0; i < m.rows; ++i)
      totals[static_cast<std::size_t>(i)] += static_cast<double>(
          along ? dot(m.data + i * m.stride + k, part, n) : sums[static_cast<std::size_t>(i)]);
  }
  std::transform(totals.begin(), totals.end(), y, [](double t) { return static_cast<float>(t); });
}

template<class T>
void multiply_vector(const Matrix<T>& a, const Matrix<T>& b, T* y) {
  const bool column = b.cols == 1;  // else y^T = b^T a^T
  const Matrix<T> m = column ? a : Matrix<T>{b.data, b.cols, b.rows, b.stride, !b.transposed};
  const T* const v = column ? b.data : a.data;
  const std::int64_t step = column ? (b.transposed ? 1 : b.stride) : a.transposed ? a.stride : 1;
  if constexpr (std::is_same_v<T, float>)
    if (is_long<T>(m.cols)) return multiply_long_vector(m, v, step, y);
  m.transposed ? multiply_vector<T, Eigen::ColMajor>(m, v, step, y)
               : multiply_vector<T, Eigen::RowMajor>(m, v, step, y);
}

}  // namespace

template<class T>
bool Gemm<T>::is_vector() const {
  return a_.cols == 0 || a_.rows == 1 || b_.cols == 1;
}

template<class T>
bool Gemm<T>::is_thin() const {
  return b_.cols < 2 * register_lanes<T> && b_.cols < a_.rows;
}

template<class T>
Gemm<T>::Gemm(const Matrix<T>& a, const Matrix<T>& b, T* c, bool accumulates)
    : a_(a), b_(b), c_(c), accumulates_(accumulates), tiles_(a.rows == 0 || b.cols == 0 ? 0 : 1) {
  if (tiles_ == 0 || is_vector()) return;
  constexpr std::int64_t lanes = register_lanes<T>;
  const std::int64_t rows = is_thin() ? b.cols : a.rows, columns = is_thin() ? a.rows : b.cols;
  tiles_ = ceil_div(rows, tile_rows);
  registers_ = ceil_div(columns, lanes);
  across_ = RegisterPart::fewest(registers_);
  // A single row of tiles has an even number of them, so that two cores get equal shares.
  if (tiles_ == 1 && across_ > 2) across_ += across_ % 2;
  tiles_ *= across_;
}

template<class T>
Tile<T> Gemm<T>::compute(std::int64_t i) const {
  const std::int64_t m = b_.cols;
  if (is_vector()) {
    if (a_.cols > 0) {
      std::vector<T> terms(accumulates_ ? static_cast<std::size_t>(a_.rows * m) : 0);
      multiply_vector(a_, b_, accumulates_ ? terms.data() : c_);
      std::transform(terms.begin(), terms.end(), c_, c_, std::plus<T>());
    } else if (!accumulates_) {
      std::fill_n(c_, a_.rows * m, T(0));
    }
    return {c_, 0, 0, a_.rows, m, m};
  }
  const bool thin = is_thin();
  const Operand<T> rows = thin ? columns_of(b_) : rows_of(a_), columns = thin ? rows_of(a_) : columns_of(b_);
  const RegisterPart part(registers_, across_, i % across_);
  const std::int64_t row = i / across_ * tile_rows, col = part.first * register_lanes<T>;
  const std::int64_t height = std::min(tile_rows, rows.count - row),
                     width = std::min(part.count * register_lanes<T>, columns.count - col);
  T* const to = thin ? c_ + col * m + row : c_ + row * m + col;
  multiply(rows, columns, row, part, {to, height, width, thin ? 1 : m, thin ? m : 1}, accumulates_);
  return thin ? Tile<T>{to, col, row, width, height, m} : Tile<T>{to, row, col, height, width, m};
}

template class Gemm<float>;
template class Gemm<double>;

}  // namespace bobbin
