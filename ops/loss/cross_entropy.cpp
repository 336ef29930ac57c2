#include "ops/loss/cross_entropy.h"

#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/samples.h"

namespace bobbin {
namespace {

// The targets of one call, row by row: coefficients t[c] such that a row costs -sum_c t[c] log p[c].
class Targets {
 public:
  Targets(const CrossEntropyTerms& terms, Inputs x) : terms_(terms), classes_(x[0].shape()[terms.axis]) {
    if (x[2])
      weight_ = x[2].to_vector<double>();
    else
      weight_.assign(static_cast<std::size_t>(classes_), 1.0);
    for (double w : weight_) total_weight_ += w;
    rows_ = classes_ > 0 ? x[0].numel() / classes_ : 0;
    if (x[1].dtype() == DType::i64) index_ = x[1].raw<std::int64_t>();
  }

  bool indexed() const { return index_ != nullptr; }
  bool ignored(std::int64_t row) const { return index_ && index_[row] == terms_.ignore_index; }
  std::int64_t rows() const { return rows_; }
  double weight(std::int64_t c) const { return weight_[static_cast<std::size_t>(c)]; }
  double spread() const { return terms_.smoothing / static_cast<double>(classes_); }

  /// t[c] of a row; `probabilities` is the row of targets where they are not indices.
  template<class T>
  double operator()(std::int64_t row, std::int64_t c, const T* probabilities) const {
    const double t = index_ ? static_cast<double>(index_[row] == c) : static_cast<double>(probabilities[c]);
    return weight(c) * (t * (1 - terms_.smoothing) + spread());
  }
  template<class T>
  double sum(std::int64_t row, const T* probabilities) const {
    if (index_) return (1 - terms_.smoothing) * weight(index_[row]) + spread() * total_weight_;
    double total = 0;
    for (std::int64_t c = 0; c < classes_; ++c) total += (*this)(row, c, probabilities);
    return total;
  }
  /// What `mean` divides by.
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
double row_loss(const Targets& t, std::int64_t row, const T* x, const T* probabilities, T* scratch,
                std::int64_t n) {
  const auto [max, log_rest] = rows::log_sum(x, scratch, n);
  const double m = static_cast<double>(max), l = log_rest;
  double loss = 0;
  for (std::int64_t c = 0; c < n; ++c)
    if (const double k = t(row, c, probabilities); k != 0) loss += k * (m - static_cast<double>(x[c]) + l);
  return l == l ? loss : l;  // NaN logits give NaN whatever the target
}

template<class F>
void each_row(Inputs x, const Tensor& out, const CrossEntropyTerms& terms, const Targets& targets, F&& f) {
  const DType compute = compute_type(x[0].dtype());
  const std::int64_t n = x[0].shape()[terms.axis];
  const auto run = [&]<class T>(Type<T>) {
    for_rows(x.first(targets.indexed() ? 1 : 2), out, terms.axis, compute,
             [&](std::span<const void* const> in, void* y, std::int64_t row) {
               f(row, static_cast<const T*>(in[0]), static_cast<const T*>(in.back()), static_cast<T*>(y), n);
             });
  };
  compute == DType::f64 ? run(Type<double>{}) : run(Type<float>{});
}

Shape without(Shape shape, int axis) {
  shape.erase(axis);
  return shape;
}

void check_call(std::string_view op, const CrossEntropyTerms& terms, const Tensor& x, const Tensor& t,
                const Tensor& w) {
  require_floating(op, x);
  const std::int64_t classes = x.shape()[terms.axis];
  if (t.dtype() == DType::i64) {
    if (t.shape() != without(x.shape(), terms.axis))
      fail<ShapeError>(op, ": class indices for ", x.spec(), " must be i64", without(x.shape(), terms.axis),
                       "; got ", t.spec());
  } else if (t.dtype() != x.dtype() || t.shape() != x.shape()) {
    fail<ShapeError>(op, ": targets for ", x.spec(), " are class indices i64", without(x.shape(), terms.axis),
                     " or probabilities ", x.spec(), "; got ", t.spec());
  }
  if (w && (w.rank() != 1 || w.size(0) != classes || w.dtype() != x.dtype()))
    fail<ShapeError>(op, ": expected a weight ", TensorSpec{{classes}, x.dtype(), x.device()}, "; got ",
                     w.spec());
  if (!(terms.smoothing >= 0 && terms.smoothing <= 1))
    fail<ValueError>(op, ": label_smoothing must lie in [0,1]; got ", terms.smoothing);
}

}  // namespace

TensorSpec CrossEntropy::infer(Inputs x) const {
  check_call(name, terms, x[0], x[1], x[2]);
  const Shape rows = without(x[0].shape(), terms.axis);
  return {terms.reduction == Reduction::none ? rows : Shape{}, x[0].dtype(), x[0].device()};
}

std::vector<TensorSpec> CrossEntropy::aux(Inputs x) const {
  if (x[0].device().is_cuda() && x[0].requires_grad()) return {x[0].spec()};
  return {};
}

void CrossEntropy::cpu(Inputs x, Tensor& out, std::span<Tensor>) const {
  const Targets targets(terms, x);
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

TensorSpec CrossEntropyBackward::infer(Inputs x) const {
  check_call(name, terms, x[0], x[1], x[2]);
  require_same_dtype(name, x[0], x[3]);
  return x[0].spec();
}

void CrossEntropyBackward::cpu(Inputs x, Tensor& out) const {
  const Targets targets(terms, x);
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
             const double total = rows::exponentials(logits, rows::max(logits, n), y, n);
             const double k = up * targets.sum(row, t) / total;
             // Which of two products is fused is said here: compilers choose one way in vectors and another
             // beside them, and which of these runs hangs on addresses.
             for (std::int64_t c = 0; c < n; ++c)
               y[c] = static_cast<T>(std::fma(k, static_cast<double>(y[c]), -(up * targets(row, c, t))));
           });
}

}  // namespace bobbin
