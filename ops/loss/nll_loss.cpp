// The negative log-likelihood, composed of other operations.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/loss.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include "ops/check.h"
#include "ops/loss/cross_entropy.h"
#include "ops/promote.h"
#include "ops/wide.h"

namespace bobbin {

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, const CrossEntropyOptions& o) try {
  const Tensor x = in_f32(log_probabilities);
  constexpr std::string_view op = "nll_loss";
  detail::refuse_weight_gradient(op, o.weight);
  if (o.label_smoothing != 0) fail<ValueError>(op, ": takes no label smoothing; use cross_entropy");
  const CrossEntropyTerms terms{detail::class_axis(op, x), o.ignore_index, 0, Reduction::none};
  detail::require_classes(op, x.spec(), terms.axis);
  require_index(op, target);
  if (Shape rows = x.shape(); rows.erase(terms.axis), target.shape() != rows)
    fail<ShapeError>(op, ": class indices for ", x.spec(), " must be i64", rows, "; got ", target.spec());
  const Tensor class_weight = detail::row_terms(terms, x, target, o.weight).class_weight;
  const Tensor counted = detail::counted_rows(target, o.ignore_index);
  const Tensor index = unsqueeze(where(counted, target, scalar(0, target)), terms.axis);
  const Tensor picked = wide(squeeze(gather(x, terms.axis, index), terms.axis));
  // A row of weight 0 adds no loss, even if its log-probability is infinite.
  const Tensor none = scalar(0, class_weight);
  Tensor loss = where(ne(class_weight, none), -picked * class_weight, none);
  if (o.reduction != Reduction::none) loss = sum(loss);
  if (o.reduction == Reduction::mean) loss = loss / sum(class_weight);
  return to(loss, x.dtype());
} catch (const IndexError& e) {
  fail<IndexError>("nll_loss: ", e.what());
}

}  // namespace bobbin
