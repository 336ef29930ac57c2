// The reference of attention, by its definition: one cell per query, with the keys and values that it sees.
#include <algorithm>

#include "autograd/gradcheck/oracles/reference.h"
#include "core/philox.h"
#include "ops/attention/attention.h"

namespace bobbin::gradcheck_detail {
namespace {

// A query's weights that are not dropped are multiplied by their factor, the others by 0.
struct Seen {
  std::vector<double> factors;
  bool by_mask = false;  ///< a floating mask adds to the logits
};

struct Rows {
  std::vector<Cell> cells;
  std::vector<Seen> seen;
};

Rows rows_of(const AttentionTerms& terms, Inputs x) {
  const std::int64_t h = x[0].size(1), l = x[0].size(2), d = x[0].size(3), k = x[1].size(1), s = x[1].size(2),
                     e = x[2].size(3);
  const bool of_bool = x[3] && x[3].dtype() == DType::boolean;
  const auto keep = of_bool ? x[3].to_vector<bool>() : std::vector<bool>();
  const auto place =
      x[3] ? broadcast_indices(x[3].shape(), {x[0].size(0), h, l, s}) : std::vector<std::int64_t>();
  const Philox philox{terms.state.seed, terms.state.draws};
  const Chance chance(terms.dropout);
  Rows out;
  for (std::int64_t row = 0; row < x[0].size(0) * h * l; ++row) {
    const std::int64_t bh = row / l, head = bh / h * k + bh % h / (h / k);
    Cell cell;
    Seen seen{{}, x[3] && !of_bool};
    const auto take = [&](int input, std::int64_t first, std::int64_t n) {
      for (std::int64_t t = 0; t < n; ++t) cell.in.push_back({input, first + t});
    };
    take(0, row * d, d);
    for (std::int64_t j = 0; j < (terms.causal ? std::min(s, row % l + 1) : s); ++j) {
      const auto weight = static_cast<std::size_t>(row * s + j);
      if (of_bool && !keep[static_cast<std::size_t>(place[weight])]) continue;
      take(1, (head * s + j) * d, d);
      take(2, (head * s + j) * e, e);
      if (seen.by_mask) take(3, place[weight], 1);
      seen.factors.push_back(terms.dropout > 0 ? chance.happens(philox.word(weight), philox, weight)
                                                     ? 0
                                                     : 1 / (1 - terms.dropout)
                                               : 1);
    }
    if (seen.factors.empty()) continue;  // 0 for every input
    for (std::int64_t t = 0; t < e; ++t) cell.out.push_back(row * e + t);
    out.cells.push_back(std::move(cell));
    out.seen.push_back(std::move(seen));
  }
  return out;
}

}  // namespace

std::unique_ptr<Reference> attention_reference(const OpBase& op, Inputs x) {
  const auto* attention = as<Attention>(op);
  if (!attention) return nullptr;
  Rows rows = rows_of(attention->terms, x);
  const auto d = static_cast<std::size_t>(x[0].size(3));
  return reference(std::move(rows.cells),
                   [d, scale = attention->terms.scale, all = std::move(rows.seen)]<class T>(
                       std::size_t cell, std::span<const T> in, std::span<T> out) {
                     const Seen& seen = all[cell];
                     const std::size_t e = out.size(), n = seen.factors.size(), each = d + e + seen.by_mask;
                     std::vector<T> p;
                     double most = -std::numeric_limits<double>::infinity();
                     for (std::size_t j = 0; j < n; ++j) {
                       const auto key = in.subspan(d + j * each);
                       T logit(0);
                       for (std::size_t t = 0; t < d; ++t) logit += in[t] * key[t];
                       logit = logit * T(scale);
                       if (seen.by_mask) logit += key[d + e];
                       most = std::max(most, value(logit));
                       p.push_back(logit);
                     }
                     T total(0);
                     for (T& v : p) {
                       v = exp(v - T(most));
                       total += v;
                     }
                     for (std::size_t t = 0; t < e; ++t) out[t] = T(0);
                     for (std::size_t j = 0; j < n; ++j)
                       for (std::size_t t = 0; t < e; ++t)
                         out[t] += p[j] / total * T(seen.factors[j]) * in[d + j * each + d + t];
                   });
}

}  // namespace bobbin::gradcheck_detail
