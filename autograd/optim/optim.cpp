#include <bobbin/optim.h>
#include <bobbin/parallel.h>
#include <bobbin/tape.h>

#include <algorithm>
#include <cmath>

namespace bobbin::optim {
namespace {

// Runs f(first, last) over fixed ranges of n elements, in parallel.
template<class F>
void ranges(std::int64_t n, F&& f) {
  constexpr std::int64_t size = 1 << 14;
  parallel_for((n + size - 1) / size, [&](std::int64_t i) { f(i * size, std::min(n, (i + 1) * size)); });
}

template<class F>
void visit_floating(DType d, F&& f) {
  d == DType::f64 ? f(Type<double>{}) : f(Type<float>{});
}

std::vector<Tensor> zeros_of(const std::vector<Tensor>& parameters) {
  std::vector<Tensor> out;
  for (auto& p : parameters) out.push_back(zeros_like(p));
  return out;
}

}  // namespace

Optimizer::Optimizer(std::vector<Tensor> parameters, double rate)
    : lr(rate), parameters_(std::move(parameters)) {
  for (auto& p : parameters_) {
    if (!p.requires_grad() || !p.is_leaf())
      fail<GradError>("optimizer: a parameter ", p.spec(), " is no leaf that requires a gradient");
    if (p.dtype() != DType::f32 && p.dtype() != DType::f64)
      fail<DTypeError>("optimizer: parameters are f32 or f64; got ", p.spec());
    if (!p.is_contiguous()) fail<ShapeError>("optimizer: a parameter ", p.spec(), " is a strided view");
  }
}

void Optimizer::step() {
  const NoGrad quiet;
  std::vector<Tensor> grads;  // all there and row-major before anything is edited
  for (auto& p : parameters_) {
    const Tensor g = p.grad();
    grads.push_back(!g || g.is_contiguous() ? g : empty_like(g).copy_(g));
  }
  begin_step();
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (grads[i]) update(i, parameters_[i], grads[i]);
}

void Optimizer::zero_grad() {
  for (auto& p : parameters_) p.set_grad({});
}

Sgd::Sgd(std::vector<Tensor> params, const SgdOptions& o) : Optimizer(std::move(params), o.lr), options_(o) {
  if (o.momentum != 0) momentum_ = zeros_of(parameters());
}

void Sgd::update(std::size_t i, Tensor& parameter, const Tensor& grad) {
  visit_floating(parameter.dtype(), [&]<class T>(Type<T>) {
    const T rate = static_cast<T>(lr), mu = static_cast<T>(options_.momentum),
            decay = static_cast<T>(options_.weight_decay);
    T* __restrict p = parameter.mutable_data<T>().data();
    const T* __restrict g = grad.data<T>().data();
    T* __restrict m = mu != 0 ? momentum_[i].mutable_data<T>().data() : nullptr;
    const bool nesterov = options_.nesterov;
    ranges(parameter.numel(), [=](std::int64_t first, std::int64_t last) {
      if (!m) {
        for (std::int64_t k = first; k < last; ++k) p[k] -= rate * (g[k] + decay * p[k]);
        return;
      }
      for (std::int64_t k = first; k < last; ++k) {
        const T d = g[k] + decay * p[k];
        m[k] = mu * m[k] + d;
        p[k] -= rate * (nesterov ? d + mu * m[k] : m[k]);
      }
    });
  });
}

Adam::Adam(std::vector<Tensor> params, const AdamOptions& o)
    : Optimizer(std::move(params), o.lr),
      options_(o),
      mean_(zeros_of(parameters())),
      square_(zeros_of(parameters())) {}

void Adam::update(std::size_t i, Tensor& parameter, const Tensor& grad) {
  visit_floating(parameter.dtype(), [&]<class T>(Type<T>) {
    const double t = static_cast<double>(steps_);
    const T b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2),
            eps = static_cast<T>(options_.eps);
    const T keep = static_cast<T>(1 - lr * options_.weight_decay);
    const T rate = static_cast<T>(lr / (1 - std::pow(options_.beta1, t)));
    const T unbias = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
    T* __restrict p = parameter.mutable_data<T>().data();
    const T* __restrict g = grad.data<T>().data();
    T* __restrict m = mean_[i].mutable_data<T>().data();
    T* __restrict v = square_[i].mutable_data<T>().data();
    ranges(parameter.numel(), [=](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        m[k] = b1 * m[k] + (1 - b1) * g[k];
        v[k] = b2 * v[k] + (1 - b2) * g[k] * g[k];
        p[k] = keep * p[k] - rate * m[k] / (std::sqrt(v[k]) * unbias + eps);
      }
    });
  });
}

}  // namespace bobbin::optim
