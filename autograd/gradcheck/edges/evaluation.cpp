// Runs a call and its derivatives in a dtype and on a device.
#include "autograd/gradcheck/edges/evaluation.h"

#include <bobbin/autograd.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

#include <cmath>

#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/precision/tolerance.h"
#include "core/philox.h"

namespace bobbin::gradcheck_detail {
namespace {

// Multiplies the elements by 1 + size or 1 - size. The signs are fixed bits, and no draws of the generator.
Tensor nudged(const Tensor& t, double size, std::uint64_t signs) {
  if (size == 0) return t;
  auto values = t.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] *= Philox{signs, 0}.word(i) & 1 ? 1 + size : 1 - size;
  return to(to(from_range(values, t.shape()), t.dtype()), t.device());
}

// Rounded to q.dtype before it is scaled and converted to the dtype of `like`.
Tensor cotangent(const Question& q, const Tensor& like) {
  const NoGrad quiet;
  if (q.ones) return full(like.shape(), std::ldexp(1, q.cotangent), like.dtype(), like.device());
  const Tensor drawn = to(to(random_cotangent(empty(like.shape(), DType::f64)), q.dtype), DType::f64);
  return to(to(nudged(drawn, q.nudge_cotangents, q.nudge) * std::ldexp(1, q.cotangent), like.dtype()),
            like.device());
}

class Evaluation {
 public:
  Evaluation(const Question& q, DType dtype, Device device) : q_(q) {
    for (const Tensor& x : q.inputs) {
      x_.push_back(x ? to(varied(x) ? to(x.detach(), dtype) : x.detach(), device) : x);
      if (!varied(x)) continue;
      x_.back() = clone(nudged(x_.back(), q.nudge_inputs, q.nudge));
      if (q.orders > 0) x_.back().set_requires_grad();
      wanted_.push_back(x_.back());
      places_.push_back(static_cast<int>(x_.size()) - 1);
    }
  }

  std::vector<Part> run() {
    const GeneratorScope scope(Generator{q_.seed, 0});
    const Tensor y = q_.call(x_);
    add(0, -1, 0, y);
    if (q_.orders == 0 || !y.requires_grad()) return std::move(parts_);
    Tensor v = cotangent(q_, y);
    std::vector<Tensor> w;
    for (const Tensor& x : wanted_) w.push_back(cotangent(q_, x));
    first(grad(y, wanted_, v, CreateGraph::no, Retain::yes), 0);
    if (q_.orders < 2) return std::move(parts_);
    v.set_requires_grad();
    const auto g = grad(y, wanted_, v, CreateGraph::yes, Retain::yes);
    first(g, 1);
    auto all = wanted_;
    all.push_back(v);
    for (std::size_t k = 0; k < g.size(); ++k) {
      if (!g[k].requires_grad()) continue;
      const auto h = grad(g[k], all, w[k], CreateGraph::no, Retain::yes);
      for (std::size_t i = 0; i < h.size(); ++i)
        add(2, i < places_.size() ? places_[i] : static_cast<int>(x_.size()), places_[k], h[i]);
    }
    return std::move(parts_);
  }

 private:
  void first(const std::vector<Tensor>& g, int of) {
    for (std::size_t k = 0; k < g.size(); ++k) add(1, places_[k], of, g[k]);
  }
  void add(int order, int input, int of, const Tensor& t) {
    parts_.push_back({order, input, of, t.dtype(), t.shape(), t.detach().to_vector<double>()});
  }

  const Question& q_;
  std::vector<Tensor> x_, wanted_;
  std::vector<int> places_;  // of the wanted inputs
  std::vector<Part> parts_;
};

}  // namespace

std::vector<Part> evaluate(const Question& q, DType dtype, Device device) {
  return Evaluation(q, dtype, device).run();
}

std::vector<Part> nudged(Question q, std::string_view op, std::uint64_t signs) {
  q.nudge = signs;
  q.nudge_cotangents = epsilon(q.dtype);
  q.nudge_inputs =
      op == "scaled_dot_product_attention" || q.dtype == DType::f64 ? epsilon(q.dtype) : epsilon(DType::f32);
  return evaluate(q, DType::f64, Device::cpu());
}

}  // namespace bobbin::gradcheck_detail
