// Cross-entropy and its gradient on the CPU.
#include <bobbin/tensor.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/check.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/cross_entropy_targets.h"
#include "ops/softmax/softmax.h"

namespace bobbin {
namespace {

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
