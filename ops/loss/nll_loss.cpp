// The negative log-likelihood, composed of other operations.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/loss.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include "ops/check.h"
#include "ops/loss/cross_entropy.h"

namespace bobbin {

Tensor nll_loss(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) try {
  constexpr std::string_view op = "nll_loss";
  detail::refuse_weight_gradient(op, o.weight);
  if (o.label_smoothing != 0) fail<ValueError>(op, ": takes no label smoothing; use cross_entropy");
  const CrossEntropyTerms terms{detail::class_axis(op, x), o.ignore_index, 0, Reduction::none};
  require_index(op, target);
  if (Shape rows = x.shape(); rows.erase(terms.axis), target.shape() != rows)
    fail<ShapeError>(op, ": class indices for ", x.spec(), " must be i64", rows, "; got ", target.spec());
  const detail::RowTerms rows = detail::row_terms(terms, x, target, o.weight);
  const Tensor counts = ne(target, scalar(static_cast<double>(o.ignore_index), target));
  const Tensor index = unsqueeze(where(counts, target, scalar(0, target)), terms.axis);
  const Tensor picked = squeeze(gather(x, terms.axis, index), terms.axis);
  Tensor loss = where(counts, -picked * rows.class_weight, scalar(0, x));
  if (o.reduction == Reduction::none) return loss;
  return o.reduction == Reduction::sum ? sum(loss) : sum(loss) / sum(rows.class_weight);
} catch (const IndexError& e) {
  fail<IndexError>("nll_loss: ", e.what());
}

}  // namespace bobbin
