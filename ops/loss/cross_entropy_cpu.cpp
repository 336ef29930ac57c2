// Cross-entropy and its gradient on the CPU.
#include <bobbin/tensor.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/loss/cross_entropy.h"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

// The weighted targets t of one call: the loss of a row is -sum_c t[c] log p[c].
class RowTargets {
 public:
  RowTargets(const CrossEntropyTerms& terms, Inputs x) : terms_(terms), classes_(x[0].shape()[terms.axis]) {
    if (x[2])
      weight_ = x[2].to_vector<double>();
    else
      weight_.assign(static_cast<std::size_t>(classes_), 1.0);
    for (double w : weight_) total_weight_ += w;
    rows_ = classes_ > 0 ? x[0].numel() / classes_ : 0;
    if (x[1].dtype() == DType::i64) index_ = x[1].raw<std::int64_t>();
  }

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
  void check(std::string_view op) const {
    for (std::int64_t r = 0; index_ && r < rows_; ++r)
      if (!ignored(r) && (index_[r] < 0 || index_[r] >= classes_))
        fail<IndexError>(op, ": class ", index_[r], " at flat position ", r, " is outside [0,", classes_,
                         ")");
  }

 private:
  CrossEntropyTerms terms_;
  std::int64_t classes_, rows_ = 0;
  const std::int64_t* index_ = nullptr;
  std::vector<double> weight_;
  double total_weight_ = 0;
};

// -sum_c t[c] log p[c], where -log p[c] = (m - x[c]) + log1p(rest).
template<class T>
double row_loss(const RowTargets& t, std::int64_t row, const T* x, const T* probabilities, T* scratch,
                std::int64_t n) {
  const auto [max, log_rest] = rows::log_sum(x, scratch, n);
  const double m = static_cast<double>(max), l = log_rest;
  double loss = 0;
  for (std::int64_t c = 0; c < n; ++c)
    if (const double k = t(row, c, probabilities); k != 0) loss += k * (m - static_cast<double>(x[c]) + l);
  return l == l ? loss : l;  // NaN logits give NaN whatever the target
}

template<class F>
void each_row(Inputs x, const Tensor& out, const CrossEntropyTerms& terms, const RowTargets& targets, F&& f) {
  const DType compute = compute_type(x[0].dtype());
  const std::int64_t n = x[0].shape()[terms.axis];
  visit_some<double, float>(compute, [&]<class T>(Type<T>) {
    for_rows(x.first(targets.indexed() ? 1 : 2), out, terms.axis, compute,
             [&](std::span<const void* const> in, void* y, std::int64_t row) {
               f(row, static_cast<const T*>(in[0]), static_cast<const T*>(in.back()), static_cast<T*>(y), n);
             });
  });
}

}  // namespace

void CrossEntropy::cpu(Inputs x, Tensor& out, std::span<Tensor>) const {
  const RowTargets targets(terms, x);
  targets.check(name);
  std::vector<double> losses(static_cast<std::size_t>(targets.rows()));
  each_row(x, {}, terms, targets,
           [&](std::int64_t row, const auto* logits, const auto* t, auto* scratch, std::int64_t n) {
             losses[static_cast<std::size_t>(row)] =
                 targets.ignored(row) ? 0 : row_loss(targets, row, logits, t, scratch, n);
           });
  if (terms.reduction == Reduction::none) {
    out.copy_(from_range(losses, out.shape()));
    return;
  }
  const double total =
      rows::sum<double>(targets.rows(), [&](std::int64_t i) { return losses[static_cast<std::size_t>(i)]; });
  out.fill_(terms.reduction == Reduction::mean ? total / targets.divisor() : total);
}

void CrossEntropyBackward::cpu(Inputs x, Tensor& out) const {
  const RowTargets targets(terms, x);
  targets.check(name);
  const std::vector<double> g = x[3].to_vector<double>();
  const double scale = terms.reduction == Reduction::mean ? 1 / targets.divisor() : 1;
  each_row(x, out, terms, targets,
           [&]<class T>(std::int64_t row, const T* logits, const T* t, T* y, std::int64_t n) {
             if (targets.ignored(row)) {
               std::fill(y, y + n, T(0));
               return;
             }
             const double up =
                 g[terms.reduction == Reduction::none ? static_cast<std::size_t>(row) : 0] * scale;
             const T max = rows::max(logits, n);
             const double total = rows::exponentials(logits, max, y, n);
             const double all = targets.sum(row, t), k = up * all / total;
             // Where p and t are both near sum(t) = 1, p sum(t) - t would cancel: the gradient there comes
             // from the other exponentials and targets.
             const std::int64_t m =
                 targets.indexed() ? targets.index(row) : std::find(logits, logits + n, max) - logits;
             const bool dominated = m<n&& static_cast<double>(y[m])> dominant_probability * total;
             double of_m = 0;
             if (dominated) {
               const double rest = rows::sum<T>(n, [=](std::int64_t c) { return c == m ? T(0) : y[c]; });
               of_m = up * (targets.sum_without(m, row, t) - all * (rest / total));
             }
             // An explicit fma. Without it, the compiler fuses one of the two products in vectorised code and
             // the other in scalar code, and the address of a row decides which elements are in vectors.
             for (std::int64_t c = 0; c < n; ++c)
               y[c] = static_cast<T>(std::fma(k, static_cast<double>(y[c]), -(up * targets(row, c, t))));
             if (dominated) y[m] = static_cast<T>(of_m);
           });
}

}  // namespace bobbin
