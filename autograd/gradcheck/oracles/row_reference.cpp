// References of the softmax family and cross-entropy, by their definitions. The shift by a row's maximum is a
// constant here: every constant gives the same function, so that its derivative is 0.
#include <algorithm>

#include "autograd/gradcheck/oracles/reference.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/linear_cross_entropy.h"
#include "ops/softmax/masked_softmax.h"
#include "ops/softmax/softmax.h"

namespace bobbin::gradcheck_detail {
namespace {

template<class T>
T largest(std::span<const T> x) {
  double most = value(x[0]);
  for (const T& v : x) most = std::max(most, value(v));
  return T(most);
}

template<class T>
std::vector<T> softmax_of(std::span<const T> x) {
  const T shift = largest(x);
  std::vector<T> p;
  T total(0);
  for (const T& v : x) total += p.emplace_back(exp(v - shift));
  for (T& v : p) v = v / total;
  return p;
}

// log sum exp(x - x[i]) for each i: -log_softmax, also accurate if x[i] is large.
template<class T>
std::vector<T> costs_of(std::span<const T> x) {
  const T shift = largest(x);
  T total(0);
  for (const T& v : x) total += exp(v - shift);
  std::vector<T> out;
  for (const T& v : x) out.push_back(log(total) + (shift - v));
  return out;
}

Axes axes_of(const Tensor& x, int axis) { return x.rank() == 0 ? Axes{} : Axes{axis}; }

// One cell per row: the rows of `inputs` inputs of one shape, concatenated, and the row of the output.
std::vector<Cell> rows(const Tensor& x, int axis, int inputs) {
  std::vector<Cell> cells;
  if (x.numel() == 0) return cells;
  for (auto& row : slices(x.shape(), axes_of(x, axis))) {
    Cell cell;
    for (int k = 0; k < inputs; ++k)
      for (const std::int64_t i : row) cell.in.push_back({k, i});
    cell.out = row;
    cells.push_back(std::move(cell));
  }
  return cells;
}

// One cell per row, without the masked elements, whose result is 0 for every input.
std::vector<Cell> seen_rows(const MaskedSoftmax& op, Inputs x) {
  std::vector<Cell> all = rows(x[0], x[0].rank() - 1, 1), seen;
  const auto mask = x.size() > 1 ? x[1].to_vector<bool>() : std::vector<bool>{true};
  const Shape shape = x.size() > 1 ? x[1].shape() : Shape{};
  const auto place = broadcast_indices(shape, x[0].shape());
  const std::size_t length = op.causal ? static_cast<std::size_t>(x[0].size(-2)) : 0;
  for (std::size_t r = 0; r < all.size(); ++r) {
    Cell cell;
    const std::size_t n = all[r].out.size(), end = op.causal ? std::min(n, r % length + 1) : n;
    for (std::size_t i = 0; i < end; ++i) {
      const std::int64_t element = all[r].out[i];
      if (!mask[static_cast<std::size_t>(place[static_cast<std::size_t>(element)])]) continue;
      cell.in.push_back({0, element});
      cell.out.push_back(element);
    }
    if (!cell.in.empty()) seen.push_back(std::move(cell));
  }
  return seen;
}

// The loss of a row of cross-entropy is -sum_c t[c] log p[c], with t[c] = w[c] ((1 - e) [c == class] + e /
// C).
struct RowTargets {
  std::vector<double> base, factor;  // t = base + factor * probability
};
struct Targets {
  bool probabilities;
  double scale = 1;  // of each row's loss in the result
  std::vector<RowTargets> rows;
  std::vector<std::int64_t> kept;  // the rows that are not ignored
};

Targets targets_of(const CrossEntropyTerms& terms, Inputs x) {
  const std::int64_t classes = x[0].shape()[terms.axis];
  const std::int64_t count = classes > 0 ? x[0].numel() / classes : 0;
  Targets out{x[1].dtype() != DType::i64, 1, {}, {}};
  std::vector<double> weight(static_cast<std::size_t>(classes), 1);
  if (x[2]) weight = x[2].to_vector<double>();
  const auto index = out.probabilities ? std::vector<std::int64_t>() : x[1].to_vector<std::int64_t>();
  double divisor = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    RowTargets row;
    const std::int64_t y = out.probabilities ? -1 : index[static_cast<std::size_t>(r)];
    if (!out.probabilities && y == terms.ignore_index) continue;
    for (std::int64_t c = 0; c < classes; ++c) {
      const double w = weight[static_cast<std::size_t>(c)];
      row.factor.push_back(w * (1 - terms.smoothing));
      row.base.push_back(w * terms.smoothing / static_cast<double>(classes) +
                         (c == y ? row.factor.back() : 0));
    }
    divisor += out.probabilities ? 1 : weight[static_cast<std::size_t>(y)];
    out.rows.push_back(std::move(row));
    out.kept.push_back(r);
  }
  if (terms.reduction == Reduction::mean) out.scale = 1 / divisor;
  return out;
}

// One cell per kept row: logits, probabilities if they are the targets, and the cotangent if there is one.
std::vector<Cell> loss_rows(const CrossEntropyTerms& terms, Inputs x, const Targets& targets) {
  const auto all = slices(x[0].shape(), {terms.axis});
  const bool backward = x.size() == 4;
  std::vector<Cell> cells;
  for (const std::int64_t r : targets.kept) {
    const auto& row = all[static_cast<std::size_t>(r)];
    const std::int64_t result = terms.reduction == Reduction::none ? r : 0;
    Cell cell;
    for (int k = 0; k < (targets.probabilities ? 2 : 1); ++k)
      for (const std::int64_t i : row) cell.in.push_back({k, i});
    if (backward) cell.in.push_back({3, result});
    cell.out = backward ? row : std::vector<std::int64_t>{result};
    cells.push_back(std::move(cell));
  }
  return cells;
}

template<class T>
std::vector<T> row_targets(const Targets& targets, std::size_t cell, std::span<const T> in, std::size_t n) {
  std::vector<T> t;
  for (std::size_t c = 0; c < n; ++c) {
    t.push_back(T(targets.rows[cell].base[c]));
    if (targets.probabilities) t[c] += T(targets.rows[cell].factor[c]) * in[n + c];
  }
  return t;
}

// The loss of each row, or, if the last input is a cotangent, its gradient for the logits.
std::unique_ptr<Reference> cross_entropy_reference(const CrossEntropyTerms& terms, Inputs x) {
  const Targets targets = targets_of(terms, x);
  const auto n = static_cast<std::size_t>(x[0].shape()[terms.axis]);
  const bool backward = x.size() == 4;
  return reference(loss_rows(terms, x, targets),
                   [=]<class T>(std::size_t cell, std::span<const T> in, std::span<T> out) {
                     const auto t = row_targets(targets, cell, in, n);
                     T sum(0);
                     if (backward) {
                       const auto p = softmax_of(in.first(n));
                       for (const T& v : t) sum += v;
                       for (std::size_t c = 0; c < n; ++c)
                         out[c] = in.back() * T(targets.scale) * (p[c] * sum - t[c]);
                     } else {
                       const auto cost = costs_of(in.first(n));
                       for (std::size_t c = 0; c < n; ++c) sum += t[c] * cost[c];
                       out[0] = sum * T(targets.scale);
                     }
                   });
}

// The same loss of the logits of each row: its products with the rows of the weight. One cell per kept row:
// the row of x, the weight, and the probabilities if they are the targets.
std::unique_ptr<Reference> linear_cross_entropy_reference(CrossEntropyTerms terms, Inputs x) {
  const auto classes = static_cast<std::size_t>(x[1].size(0)), in = static_cast<std::size_t>(x[1].size(1));
  const auto axis = x[0].rank() - 1;
  Shape shape = x[0].shape();
  shape[axis] = x[1].size(0);
  terms.axis = axis;
  const Tensor logits = zeros(shape, DType::f64);
  const std::vector<Tensor> as_logits{logits, x[2], x[3]};
  const Targets targets = targets_of(terms, as_logits);
  const auto of_x = slices(x[0].shape(), {axis}), of_logits = slices(shape, {axis});
  std::vector<Cell> cells;
  for (const std::int64_t r : targets.kept) {
    Cell cell;
    for (const std::int64_t i : of_x[static_cast<std::size_t>(r)]) cell.in.push_back({0, i});
    for (std::int64_t i = 0; i < x[1].numel(); ++i) cell.in.push_back({1, i});
    if (targets.probabilities)
      for (const std::int64_t i : of_logits[static_cast<std::size_t>(r)]) cell.in.push_back({2, i});
    cell.out = {terms.reduction == Reduction::none ? r : 0};
    cells.push_back(std::move(cell));
  }
  return reference(std::move(cells),
                   [=]<class T>(std::size_t cell, std::span<const T> all, std::span<T> out) {
                     std::vector<T> row;  // logits, then probabilities
                     for (std::size_t c = 0; c < classes; ++c) {
                       T z(0);
                       for (std::size_t k = 0; k < in; ++k) z += all[k] * all[in + c * in + k];
                       row.push_back(z);
                     }
                     const auto rest = all.subspan(in + classes * in);
                     row.insert(row.end(), rest.begin(), rest.end());
                     const std::span<const T> ready(row);
                     const auto t = row_targets(targets, cell, ready, classes);
                     const auto cost = costs_of(ready.first(classes));
                     T sum(0);
                     for (std::size_t c = 0; c < classes; ++c) sum += t[c] * cost[c];
                     out[0] = sum * T(targets.scale);
                   });
}

}  // namespace

std::unique_ptr<Reference> row_reference(const OpBase& op, Inputs x) {
  // f(in, out) for each row of `inputs` inputs.
  const auto by_row = [&](int axis, int inputs, auto f) {
    return reference(rows(x[0], axis, inputs), [f](std::size_t, auto in, auto out) { f(in, out); });
  };
  const auto softmax = [](auto in, auto out) { std::ranges::copy(softmax_of(in), out.begin()); };
  if (const auto* s = as<Softmax>(op)) return by_row(s->axis, 1, softmax);
  if (const auto* s = as<MaskedSoftmax>(op))
    return reference(seen_rows(*s, x), [=](std::size_t, auto in, auto out) { softmax(in, out); });
  if (const auto* s = as<LogSoftmax>(op))
    return by_row(s->axis, 1, [](auto in, auto out) {
      const auto cost = costs_of(in);
      for (std::size_t i = 0; i < cost.size(); ++i) out[i] = -cost[i];
    });
  if (const auto* s = as<SoftmaxBackward>(op))
    return by_row(s->axis, 2, []<class T>(std::span<const T> in, std::span<T> out) {
      const std::size_t n = out.size();
      T c(0), rest(0);
      for (std::size_t i = 0; i < n; ++i)
        if (value(in[i]) > dominant_probability) c += in[n + i];
      for (std::size_t i = 0; i < n; ++i) rest += in[i] * (in[n + i] - c);
      for (std::size_t i = 0; i < n; ++i) out[i] = in[i] * ((in[n + i] - c) - rest);
    });
  if (const auto* s = as<LogSoftmaxBackward>(op))
    return by_row(s->axis, 2, []<class T>(std::span<const T> in, std::span<T> out) {
      const std::size_t n = out.size();
      T total(0);
      for (std::size_t i = 0; i < n; ++i) total += in[n + i];
      for (std::size_t i = 0; i < n; ++i) out[i] = in[n + i] - exp(in[i]) * total;
    });
  if (const auto* c = as<CrossEntropy>(op)) return cross_entropy_reference(c->terms, x);
  if (const auto* c = as<CrossEntropyBackward>(op)) return cross_entropy_reference(c->terms, x);
  if (const auto* c = as<LinearCrossEntropy>(op)) return linear_cross_entropy_reference(c->terms, x);
  return nullptr;
}

}  // namespace bobbin::gradcheck_detail
