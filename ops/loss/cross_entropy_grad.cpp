// Derivatives of cross-entropy of any order, and what the public functions check.
#include "ops/check.h"
#include "ops/loss/cross_entropy.h"
#include "ops/samples.h"

namespace bobbin {
namespace {

// [C] as it broadcasts along the class axis of x.
Tensor along_classes(const Tensor& w, const Tensor& x, int axis) {
  Shape shape = Shape::filled(x.rank(), 1);
  shape[axis] = w.numel();
  return reshape(w, shape);
}

// Of each row: whether it counts, the weight of its class, and the sum of its coefficients t.
struct RowTerms {
  Tensor counts, class_weight, sum;
};

RowTerms row_terms(const CrossEntropyTerms& terms, const Tensor& x, const Tensor& target,
                   const Tensor& weight) {
  const Tensor w = weight ? weight : ones({x.size(terms.axis)}, x.dtype(), x.device());
  const Tensor spread = mean(w) * terms.smoothing;
  if (target.dtype() != DType::i64) {
    const Tensor t =
        sum(target * along_classes(w, x, terms.axis), {terms.axis}) * (1 - terms.smoothing) + spread;
    return {ones_like(t), Tensor(), t};
  }
  const Tensor counts = ne(target, scalar(static_cast<double>(terms.ignore_index), target));
  const Tensor of_class = embedding(reshape(w, {-1, 1}), where(counts, target, scalar(0, target)));
  const Tensor class_weight = to(counts, x.dtype()) * reshape(of_class, target.shape());
  return {to(counts, x.dtype()), class_weight,
          class_weight * (1 - terms.smoothing) + to(counts, x.dtype()) * spread};
}

// The cotangent of each row's loss.
Tensor row_cotangent(const CrossEntropyTerms& terms, const RowTerms& rows, const Tensor& g) {
  switch (terms.reduction) {
    case Reduction::none:
      return g;
    case Reduction::sum:
      return expand(g, rows.sum.shape());
    case Reduction::mean:
      break;
  }
  const double count = static_cast<double>(rows.sum.numel());
  return expand(rows.class_weight ? g / sum(rows.class_weight) : g / count, rows.sum.shape());
}

Tensor backward_of(const CrossEntropyTerms& terms, const Tensor& x, const Tensor& t, const Tensor& w,
                   const Tensor& g) {
  return record(CrossEntropyBackward{terms}, {x, t, w, g});
}

Tensor optional_weight(const Vjp& v) { return v.has_input(2) ? v.input(2) : Tensor(); }

// What the forward pass left behind serves where it is the gradient asked for: for a cotangent of 1, and not
// to be differentiated again. For any other cotangent it would have to be scaled, which reads and writes as
// much as computing it anew, after it was rounded (in f16, before a loss scale could keep it from vanishing).
Tensor logits_gradient(const CrossEntropyTerms& terms, const Vjp& v) {
  const Tensor& x = v.input(0);
  if (x.device().is_cuda() && v.grad_is_one() && !grad_enabled()) return v.aux(0);
  return backward_of(terms, x, v.input(1), optional_weight(v), v.grad);
}

}  // namespace

Grads CrossEntropy::vjp(const Vjp& v) const {
  const Tensor &x = v.input(0), &t = v.input(1), w = optional_weight(v);
  Grads g(3);
  if (v.needs(0)) g[0] = logits_gradient(terms, v);
  if (v.needs(1)) {
    const Tensor up = row_cotangent(terms, row_terms(terms, x, t, w), v.grad);
    const Tensor slope = unsqueeze(up, terms.axis) * -log_softmax(x, terms.axis) * (1 - terms.smoothing);
    g[1] = w ? slope * along_classes(w, x, terms.axis) : slope;
  }
  return g;
}

// With D = g (P s - t), s = sum(t), P = softmax(X), and a cotangent H of D:
//   for X: g s softmax_backward(P, H);  for g: sum(H (P s - t));  for probabilities: g w (1-e) (sum(H P) -
//   H).
Grads CrossEntropyBackward::vjp(const Vjp& v) const {
  const Tensor &x = v.input(0), &t = v.input(1), w = optional_weight(v), &g = v.input(3), &h = v.grad;
  const RowTerms rows = row_terms(terms, x, t, w);
  const Tensor up = unsqueeze(row_cotangent(terms, rows, g), terms.axis), p = softmax(x, terms.axis);
  Grads out(4);
  if (v.needs(0)) out[0] = up * unsqueeze(rows.sum, terms.axis) * softmax_backward(p, h, terms.axis);
  if (v.needs(1)) {
    const Tensor slope = up * (sum(h * p, {terms.axis}, true) - h) * (1 - terms.smoothing);
    out[1] = w ? slope * along_classes(w, x, terms.axis) : slope;
  }
  if (v.needs(3)) {
    const Tensor product = h * backward_of(terms, x, t, w, ones_like(g));
    out[3] = terms.reduction == Reduction::none ? sum(product, {terms.axis}) : sum(product);
  }
  return out;
}

namespace {

int class_axis(std::string_view op, const Tensor& x) {
  if (x.rank() == 0) fail<ShapeError>(op, ": expected logits [C], [N,C] or [N,C,d...]; got ", x.spec());
  return x.rank() == 1 ? 0 : 1;
}

void refuse_weight_gradient(std::string_view op, const Tensor& w) {
  if (w && w.requires_grad())
    fail<GradError>(op, ": no gradient flows to the class weights; use their detach()");
}

}  // namespace

Tensor cross_entropy(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) {
  refuse_weight_gradient("cross_entropy", o.weight);
  const CrossEntropyTerms terms{class_axis("cross_entropy", x), o.ignore_index, o.label_smoothing,
                                o.reduction};
  return record(CrossEntropy{terms}, {x, target, o.weight});
}

Tensor nll_loss(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o) try {
  constexpr std::string_view op = "nll_loss";
  refuse_weight_gradient(op, o.weight);
  if (o.label_smoothing != 0) fail<ValueError>(op, ": takes no label smoothing; use cross_entropy");
  const CrossEntropyTerms terms{class_axis(op, x), o.ignore_index, 0, Reduction::none};
  require_index(op, target);
  if (Shape rows = x.shape(); rows.erase(terms.axis), target.shape() != rows)
    fail<ShapeError>(op, ": class indices for ", x.spec(), " must be i64", rows, "; got ", target.spec());
  const RowTerms rows = row_terms(terms, x, target, o.weight);
  const Tensor counts = ne(target, scalar(static_cast<double>(o.ignore_index), target));
  const Tensor index = unsqueeze(where(counts, target, scalar(0, target)), terms.axis);
  const Tensor picked = squeeze(gather(x, terms.axis, index), terms.axis);
  Tensor loss = where(counts, -picked * rows.class_weight, scalar(0, x));
  if (o.reduction == Reduction::none) return loss;
  return o.reduction == Reduction::sum ? sum(loss) : sum(loss) / sum(rows.class_weight);
} catch (const IndexError& e) {
  fail<IndexError>("nll_loss: ", e.what());
}

namespace {

using Loss = Tensor (*)(const Tensor&, const Tensor&, const CrossEntropyOptions&);

// The options with their weight on the device of x.
CrossEntropyOptions beside(const Tensor& x, CrossEntropyOptions o) {
  if (o.weight) o.weight = to(o.weight, x.device());
  return o;
}

std::vector<Sample> index_samples(Loss f) {
  const Tensor targets = tensor({2, 0, 1, 2}, DType::i64), some = tensor({2, -100, 1, 2}, DType::i64);
  const Tensor weight = sample_input({3}, 0.5, 2);
  const auto with = [f](const CrossEntropyOptions& o) {
    return [f, o](Inputs x) { return f(x[0], x[1], beside(x[0], o)); };
  };
  const auto logits = [] { return sample_input({4, 3}); };
  return {
      {"mean", {logits(), targets}, with({})},
      {"sum", {logits(), targets}, with({.reduction = Reduction::sum})},
      {"none", {logits(), targets}, with({.reduction = Reduction::none})},
      {"ignored rows", {logits(), some}, with({})},
      {"weights and ignored rows", {logits(), some}, with({.weight = weight})},
      {"weights, none", {logits(), some}, with({.weight = weight, .reduction = Reduction::none})},
      {"one row", {sample_input({3}), tensor(1, DType::i64)}, with({})},
      {"images", {sample_input({2, 3, 2}), tensor({{0, 1}, {2, 2}}, DType::i64)}, with({})},
      {"all ignored", {sample_input({1, 3}), tensor({-100}, DType::i64)}, with({}), {}, false},
      {"no rows, sum", {sample_input({0, 3}), zeros({0}, DType::i64)}, with({.reduction = Reduction::sum})}};
}

}  // namespace

std::vector<Sample> CrossEntropy::samples() {
  auto v = index_samples(cross_entropy);
  const auto with = [](const CrossEntropyOptions& o) {
    return [o](Inputs x) { return cross_entropy(x[0], x[1], beside(x[0], o)); };
  };
  const Tensor some = tensor({2, -100, 1, 2}, DType::i64), weight = sample_input({3}, 0.5, 2);
  const auto logits = [] { return sample_input({4, 3}); };
  const auto probabilities = [] { return softmax(sample_input({4, 3}), 1); };
  v.push_back({"smoothing and weights", {logits(), some}, with({.weight = weight, .label_smoothing = 0.2})});
  v.push_back({"probabilities", {logits(), probabilities()}, with({})});
  v.push_back({"probabilities, weights and smoothing, none",
               {logits(), probabilities()},
               with({.weight = weight, .label_smoothing = 0.1, .reduction = Reduction::none})});
  v.push_back({"probabilities, one row, sum",
               {sample_input({3}), softmax(sample_input({3}))},
               with({.reduction = Reduction::sum})});
  v.push_back(
      {"large logits", {sample_input({2, 3}, -1e4, 1e4), tensor({0, 1}, DType::i64)}, with({}), {}, false});
  v.push_back(invalid("class", {logits(), tensor({0, 1, 3, 2}, DType::i64)}, with({}),
                      "cross_entropy: class 3 at flat position 2 is outside [0,3)"));
  v.push_back(invalid("target shape", {logits(), zeros({3}, DType::i64)}, with({}),
                      "cross_entropy: class indices for f64[4,3] must be i64[4]; got i64[3]"));
  v.push_back(invalid(
      "target dtype", {logits(), zeros({4}, DType::i32)}, with({}),
      "cross_entropy: targets for f64[4,3] are class indices i64[4] or probabilities f64[4,3]; got i32[4]"));
  v.push_back(invalid("smoothing", {logits(), some}, with({.label_smoothing = 1.5}),
                      "cross_entropy: label_smoothing must lie in [0,1]; got 1.5"));
  v.push_back(invalid("weight", {logits(), some}, with({.weight = ones({4}, DType::f64)}),
                      "cross_entropy: expected a weight f64[3]; got f64[4]"));
  return v;
}

std::vector<Sample> CrossEntropyBackward::samples() {
  const CrossEntropyTerms mean{1, -100, 0.1, Reduction::mean}, none{1, 0, 0, Reduction::none};
  const auto with = [](CrossEntropyTerms t) {
    return [t](Inputs x) { return backward_of(t, x[0], x[1], {}, x[2]); };
  };
  return {
      {"mean, smoothing",
       {sample_input({3, 3}), tensor({2, -100, 1}, DType::i64), sample_input({})},
       with(mean)},
      {"none, ignored", {sample_input({3, 3}), tensor({2, 0, 1}, DType::i64), sample_input({3})}, with(none)},
      {"probabilities", {sample_input({2, 3}), softmax(sample_input({2, 3})), sample_input({})}, with(mean)},
      invalid("class", {sample_input({1, 3}), tensor({7}, DType::i64), sample_input({})}, with(mean),
              "cross_entropy_backward: class 7 at flat position 0 is outside [0,3)")};
}

std::vector<Sample> nll_loss_samples() {
  auto v = index_samples(nll_loss);
  v.push_back(invalid(
      "smoothing", {sample_input({1, 3}), tensor({1}, DType::i64)},
      [](Inputs x) { return nll_loss(x[0], x[1], {.label_smoothing = 0.1}); },
      "nll_loss: takes no label smoothing; use cross_entropy"));
  v.push_back(invalid(
      "class", {sample_input({1, 3}), tensor({3}, DType::i64)}, [](Inputs x) { return nll_loss(x[0], x[1]); },
      "nll_loss: index_select: index 3 at flat position 0 is outside [0,3)"));
  return v;
}

}  // namespace bobbin
