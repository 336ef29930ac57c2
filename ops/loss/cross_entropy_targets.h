// The weighted targets of the rows of a cross-entropy call, for the kernels of the CPU.
#pragma once
#include <bobbin/tensor.h>

#include <vector>

#include "ops/cpu/softmax_rows.h"
#include "ops/loss/cross_entropy.h"

namespace bobbin {

/// The weighted targets t of one call: the loss of a row is -sum_c t[c] log p[c].
class RowTargets {
 public:
  /// `target` is row-major; `weight` may be undefined.
  RowTargets(const CrossEntropyTerms& terms, std::int64_t rows, std::int64_t classes, const Tensor& target,
             const Tensor& weight)
      : terms_(terms), classes_(classes), rows_(rows) {
    if (weight)
      weight_ = weight.to_vector<double>();
    else
      weight_.assign(static_cast<std::size_t>(classes_), 1.0);
    for (double w : weight_) total_weight_ += w;
    if (target.dtype() == DType::i64) index_ = target.raw<std::int64_t>();
  }
  /// The targets of cross_entropy's inputs.
  RowTargets(const CrossEntropyTerms& terms, Inputs x)
      : RowTargets(terms, rows_of(x[0], terms.axis), x[0].shape()[terms.axis], x[1], x[2]) {}

  bool indexed() const { return index_ != nullptr; }
  std::int64_t index(std::int64_t row) const { return index_[row]; }
  bool ignored(std::int64_t row) const { return index_ && index_[row] == terms_.ignore_index; }
  std::int64_t rows() const { return rows_; }
  double weight(std::int64_t c) const { return weight_[static_cast<std::size_t>(c)]; }
  double spread() const { return terms_.smoothing / static_cast<double>(classes_); }

  /// t[c] of a row. `probabilities` is the row of targets if they are not indices.
  template<class T>
  double operator()(std::int64_t row, std::int64_t c, const T* probabilities) const {
    const double t = index_ ? static_cast<double>(index_[row] == c) : static_cast<double>(probabilities[c]);
    return weight(c) * (t * (1 - terms_.smoothing) + spread());
  }
  template<class T>
  double sum(std::int64_t row, const T* probabilities) const {
    if (index_) return (1 - terms_.smoothing) * weight(index_[row]) + spread() * total_weight_;
    return rows::sum<double>(classes_, [&](std::int64_t c) { return (*this)(row, c, probabilities); });
  }
  /// The sum of the row's targets but that of class m.
  template<class T>
  double sum_without(std::int64_t m, std::int64_t row, const T* probabilities) const {
    if (index_)
      return (index_[row] == m ? 0 : (1 - terms_.smoothing) * weight(index_[row])) +
             spread() * (total_weight_ - weight(m));
    return rows::sum<double>(classes_,
                             [&](std::int64_t c) { return c == m ? 0.0 : (*this)(row, c, probabilities); });
  }
  /// The divisor of `mean`.
  double divisor() const {
    if (!index_) return static_cast<double>(rows_);
    double total = 0;
    for (std::int64_t r = 0; r < rows_; ++r)
      if (!ignored(r)) total += weight(index_[r]);
    return total;
  }
  /// Throws IndexError if the class of a row is out of range.
  void check(std::string_view op) const {
    for (std::int64_t r = 0; index_ && r < rows_; ++r)
      if (!ignored(r) && (index_[r] < 0 || index_[r] >= classes_))
        fail<IndexError>(op, ": class ", index_[r], " at flat position ", r, " is outside [0,", classes_,
                         ")");
  }

 private:
  static std::int64_t rows_of(const Tensor& x, int axis) {
    return x.shape()[axis] > 0 ? x.numel() / x.shape()[axis] : 0;
  }

  CrossEntropyTerms terms_;
  std::int64_t classes_, rows_;
  const std::int64_t* index_ = nullptr;
  std::vector<double> weight_;
  double total_weight_ = 0;
};

}  // namespace bobbin
