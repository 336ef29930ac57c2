#include <bobbin/optim.h>
#include <bobbin/parallel.h>
#include <bobbin/tape.h>

#include <algorithm>
#include <cmath>

#include "rules.h"

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

template<class Rule, class T = typename Rule::type>
void update_on_cpu(const Rule& rule, const Elements<T>& e) {
  T* __restrict p = e.p, * __restrict s0 = e.s[0], * __restrict s1 = e.s[1];
  const T* __restrict g = e.g;
  ranges(e.n, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t k = first; k < last; ++k) {
      T s[2];
      if constexpr (Rule::states > 0) s[0] = s0[k];
      if constexpr (Rule::states > 1) s[1] = s1[k];
      rule(p[k], g[k], s);
      if constexpr (Rule::states > 0) s0[k] = s[0];
      if constexpr (Rule::states > 1) s1[k] = s[1];
    }
  });
}

// Applies the rule that make(Type<T>{}) gives to all parts, neighbours of one dtype and device together.
template<template<class> class Rule, class Make>
void apply(std::span<const Optimizer::Part> parts, std::initializer_list<const std::vector<Tensor>*> states,
           Make make) {
  for (auto first = parts.begin(); first != parts.end();) {
    const Device device = first->parameter.device();
    const DType dtype = first->parameter.dtype();
    const auto last = std::find_if(first, parts.end(), [&](auto& part) {
      return part.parameter.device() != device || part.parameter.dtype() != dtype;
    });
    visit_floating(dtype, [&]<class T>(Type<T> type) {
      std::vector<Elements<T>> all;
      for (; first != last; ++first) {
        const auto& [i, p, g] = *first;
        Elements<T>& e = all.emplace_back();
        e = {static_cast<T*>(p.raw()), static_cast<const T*>(g.raw()), {}, p.numel()};
        for (T** s = e.s; const auto* state : states) *s++ = static_cast<T*>((*state)[i].raw());
        ++p.storage()->version;
      }
#if BOBBIN_HAS_CUDA
      if (device.is_cuda())
        return update_on_gpu<Rule<T>>(device, all, cuda::hosted<Rule<T>>([=] { return make(type); }));
#endif
      const Rule<T> rule = make(type);
      for (auto& e : all) update_on_cpu(rule, e);
    });
  }
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
  std::vector<Part> parts;  // all there and row-major before anything is edited
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (const Tensor g = parameters_[i].grad())
      parts.push_back({i, parameters_[i], g.is_contiguous() ? g : empty_like(g).copy_(g)});
  begin_step();
  update(parts);
}

void Optimizer::zero_grad() {
  for (auto& p : parameters_) p.set_grad({});
}

Sgd::Sgd(std::vector<Tensor> params, const SgdOptions& o) : Optimizer(std::move(params), o.lr), options_(o) {
  if (o.momentum != 0) momentum_ = zeros_of(parameters());
}

void Sgd::update(std::span<const Part> parts) {
  if (momentum_.empty())
    return apply<SgdRule>(parts, {}, [this]<class T>(Type<T>) {
      return SgdRule<T>{.rate = static_cast<T>(lr), .decay = static_cast<T>(options_.weight_decay)};
    });
  apply<MomentumRule>(parts, {&momentum_}, [this]<class T>(Type<T>) {
    return MomentumRule<T>{.rate = static_cast<T>(lr),
                           .decay = static_cast<T>(options_.weight_decay),
                           .mu = static_cast<T>(options_.momentum),
                           .nesterov = options_.nesterov};
  });
}

Adam::Adam(std::vector<Tensor> params, const AdamOptions& o)
    : Optimizer(std::move(params), o.lr),
      options_(o),
      mean_(zeros_of(parameters())),
      square_(zeros_of(parameters())) {}

void Adam::begin_step() {
  ++steps_;
#if BOBBIN_HAS_CUDA
  cuda::on_replay([this] { ++steps_; });
#endif
}

void Adam::update(std::span<const Part> parts) {
  apply<AdamRule>(parts, {&mean_, &square_}, [this]<class T>(Type<T>) {
    const double t = static_cast<double>(steps_);
    return AdamRule<T>{.b1 = static_cast<T>(options_.beta1),
                       .b2 = static_cast<T>(options_.beta2),
                       .eps = static_cast<T>(options_.eps),
                       .keep = static_cast<T>(1 - lr * options_.weight_decay),
                       .rate = static_cast<T>(lr / (1 - std::pow(options_.beta1, t))),
                       .unbias = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, t)))};
  });
}

}  // namespace bobbin::optim
