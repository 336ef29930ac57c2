// The twelve mistakes that mutation testing makes in derivatives.
#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/mutation/mutation.h"

namespace bobbin::gradcheck_detail {
namespace {

// Whether the bits are equal, except that 0 equals -0 and all NaNs are equal.
bool same(const Tensor& a, const Tensor& b) {
  if (bool(a) != bool(b)) return false;
  if (!a) return true;
  if (a.spec() != b.spec()) return false;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  return std::ranges::equal(x, y, [](double p, double q) { return p == q || (p != p && q != q); });
}

Tensor rolled(const Tensor& x, int axis) {
  return concat({slice(x, axis, 1, x.size(axis)), slice(x, axis, 0, 1)}, axis);
}

// The first axis that has several elements; -1 if none has.
int long_axis(const Tensor& x) {
  for (int i = 0; i < x.rank(); ++i)
    if (x.shape()[i] > 1) return i;
  return -1;
}

// A tensor with 1 at one flat index and 0 elsewhere.
Tensor only(const Tensor& like, std::int64_t index, DType dtype) {
  const Tensor flat = to(eq(arange(like.numel()), full({}, static_cast<double>(index), DType::i64)), dtype);
  return to(reshape(flat, like.shape()), like.device());
}

std::int64_t smallest(const Tensor& g) {
  const auto v = g.to_vector<double>();
  std::int64_t found = -1;
  for (std::size_t i = 0; i < v.size(); ++i)
    if (v[i] != 0 && (found < 0 || std::abs(v[i]) < std::abs(v[static_cast<std::size_t>(found)])))
      found = static_cast<std::int64_t>(i);
  return found;
}

Tensor without_smallest(const Tensor& g) {
  const std::int64_t i = smallest(g);
  return i < 0 ? g : where(only(g, i, DType::boolean), scalar(0, g), g);
}

Tensor with_nan(const Tensor& g) {
  if (g.numel() == 0) return g;
  return where(only(g, g.numel() / 2, DType::boolean), scalar(std::nan(""), g), g);
}

Tensor transposed(const Tensor& g) { return g.rank() < 2 ? g : reshape(contiguous(transpose(g)), g.shape()); }

Tensor other_row(const Tensor& g) {
  const int axis = long_axis(g);
  return axis < 0 ? g : rolled(g, axis);
}

// A saved tensor as if from another call: its elements moved by one position, or, if that changes nothing,
// other numbers.
Saved another(const Saved& saved) {
  if (!saved.tensor || saved.tensor.numel() == 0) return saved;
  const NoGrad quiet;
  const Tensor x = saved.tensor.detach();
  Tensor moved = clone(reshape(rolled(reshape(x, {-1}), 0), x.shape()));
  if (same(moved, x) && is_floating(x.dtype())) moved = x * 1.25;
  return {moved, moved.version()};
}

std::shared_ptr<Node> with_stale(const Node& node) {
  auto copy = node.op->make_node(node.spec);
  copy->inputs = node.inputs;
  for (Edge& e : copy->inputs) e.saved = another(e.saved);
  copy->output = another(node.output);
  for (const Saved& s : node.aux) copy->aux.push_back(another(s));
  return copy;
}

// The cotangent of an output to which an input of shape `from` was broadcast, with zeros except at the first
// copy of each element; undefined if broadcasting repeats nothing.
Tensor first_copy(const Tensor& g, const Shape& from) {
  Tensor kept;
  const int lead = g.rank() - from.size();
  for (int i = 0; i < g.rank(); ++i) {
    if (g.shape()[i] <= 1 || (i >= lead && from[i - lead] != 1)) continue;
    Shape shape = Shape::filled(g.rank(), 1);
    shape[i] = g.shape()[i];
    const Tensor first = reshape(only(empty({g.shape()[i]}), 0, g.dtype()), shape);
    kept = (kept ? kept : g) * to(first, g.device());
  }
  return kept;
}

}  // namespace

std::string_view name(Mistake m) {
  constexpr std::array names{
      "zero",        "sign",     "times 1+1e-6", "one element 0", "transposed",     "cotangent ignored",
      "sum missing", "= for +=", "stale",        "NaN",           "row off by one", "doubled"};
  return names[static_cast<std::size_t>(m)];
}

Grads Planted::derivative(Node& node, const Vjp& v) {
  if (node.sequence >= last_)
    sent_.clear(), done_ = false;  // numbers decrease within a pass: this is the next pass
  last_ = node.sequence;
  const Grads right = Probe::derivative(node, v);
  Grads given = right;
  const bool own = std::ranges::none_of(
      planted_, [&](auto& p) { return p.first < node.sequence && node.sequence < p.second; });
  if (own && node.op->name() == op_ && (!done_ || mistake_ == Mistake::overwritten)) {
    done_ = true;
    given = wrong(node, v, right);
    ++seen_.calls;
    seen_.changed += !std::ranges::equal(right, given, same);
    seen_.keeps |= bool(node.output.tensor) || !node.aux.empty() ||
                   std::ranges::any_of(node.inputs, [](const Edge& e) { return bool(e.saved.tensor); });
    for (const Tensor& g : right) {
      seen_.nonzero |= g && smallest(g) >= 0;
      seen_.repeats |= g && first_copy(v.grad, g.shape());
    }
  }
  if (mistake_ == Mistake::overwritten)
    for (std::size_t i = 0; i < given.size() && i < node.inputs.size(); ++i)
      if (const Node* to = node.inputs[i].producer.get(); to && given[i]) {
        Tensor& sum = sent_[to];
        sum = sum ? sum + given[i] : given[i];
      }
  return given;
}

Grads Planted::overwritten(Node& node, const Grads& right) const {
  Grads given;
  std::unordered_map<const Node*, Tensor> got = sent_;
  for (std::size_t i = 0; i < right.size(); ++i) {
    given.push_back(right[i]);
    const Node* to = i < node.inputs.size() ? node.inputs[i].producer.get() : nullptr;
    if (!to || !right[i]) continue;
    Tensor& before = got[to];
    if (!before && to->is_leaf()) before = to->grad;  // from an earlier backward pass
    if (before) given[i] = right[i] - before;
    before = right[i];
  }
  return given;
}

Grads Planted::wrong(Node& node, const Vjp& v, const Grads& right) {
  const auto each = [&](auto&& f) {
    const std::uint64_t first = Node({}).sequence;
    Grads out;
    for (const Tensor& g : right) out.push_back(g ? f(g) : g);
    planted_.emplace_back(first, Node({}).sequence);
    return out;
  };
  switch (mistake_) {
    case Mistake::zero:
      return each([](const Tensor& g) { return zeros_like(g); });
    case Mistake::sign:
      return each([](const Tensor& g) { return -g; });
    case Mistake::factor:
      return each([](const Tensor& g) { return g * (1 + 1e-6); });
    case Mistake::element:
      return each(without_smallest);
    case Mistake::transposed:
      return each([](const Tensor& g) { return transposed(g); });
    case Mistake::cotangent:
      return Probe::derivative(node, Vjp(node, ones_like(v.grad)));
    case Mistake::broadcast: {
      Grads out = right;
      for (std::size_t i = 0; i < out.size(); ++i)
        if (out[i])
          if (const Tensor first = first_copy(v.grad, out[i].shape()))
            out[i] = Probe::derivative(node, Vjp(node, first))[i];
      return out;
    }
    case Mistake::overwritten:
      return overwritten(node, right);
    case Mistake::stale: {
      const auto stale = with_stale(node);
      return Probe::derivative(*stale, Vjp(*stale, v.grad));
    }
    case Mistake::nan:
      return each(with_nan);
    case Mistake::row:
      return each(other_row);
    case Mistake::doubled:
      break;
  }
  return each([](const Tensor& g) { return g * 2; });
}

}  // namespace bobbin::gradcheck_detail
