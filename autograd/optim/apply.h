// Applies update rules to all parameters of a step, on the CPU or on a GPU: everything is prepared before the
// first element changes.
#pragma once
#include <bobbin/optim.h>
#include <bobbin/parallel.h>

#include <algorithm>

#include "autograd/optim/rules.h"
#include "core/ceil_div.h"

namespace bobbin::optim {

constexpr std::int64_t tile = 1 << 14;  // elements per task of a thread

// Updates elements [first, last), with gradients that `scale` is applied to.
template<class Rule, class Scale, class T = typename Rule::type>
void update_tile(const Rule& rule, const Elements<T>& e, std::int64_t first, std::int64_t last,
                 [[maybe_unused]] Scale scale) {
  T* __restrict p = e.p, * __restrict s0 = e.s[0], * __restrict s1 = e.s[1];
  [[maybe_unused]] const T* __restrict g = e.g;
  static_assert(Rule::states <= 2);
  for (std::int64_t k = first; k < last; ++k) {
    T s[2];
    if constexpr (Rule::states > 0) s[0] = s0[k];
    if constexpr (Rule::states > 1) s[1] = s1[k];
    if constexpr (reads_gradient<Rule>)
      rule(p[k], scale(g[k]), s);
    else
      rule(p[k], s);
    if constexpr (Rule::states > 0) s0[k] = s[0];
    if constexpr (Rule::states > 1) s1[k] = s[1];
  }
}

/// Updates of parameters. add() prepares them, and may throw; run() makes them, and allocates nothing.
class Updates {
 public:
  /// Prepares a rule for all parts: make(Type<T>{}, group, parameter) returns the rule of a part.
  /// Neighbouring parts of the same group, step count, dtype and device are updated in one call, with the
  /// rule of the first.
  template<template<class> class Rule, class Make>
  void add(std::span<const Optimizer::Part> parts, std::initializer_list<const std::vector<Tensor>*> states,
           Make make) {
    for (auto first = parts.begin(); first != parts.end();) {
      const auto& head = *first;
      const auto last = std::find_if(first, parts.end(), [&](auto& part) {
        return part.parameter.device() != head.parameter.device() ||
               part.parameter.dtype() != head.parameter.dtype() || part.group != head.group ||
               part.steps != head.steps;
      });
      visit_some<double, float>(head.parameter.dtype(), [&]<class T>(Type<T> type) {
        std::vector<Elements<T>> all;
        for (; first != last; ++first) {
          const auto& [i, group, p, g, steps, factor] = *first;
          versions_.push_back(&p.storage()->version);
          if (p.numel() == 0) continue;
          Elements<T>& e = all.emplace_back();
          e = {p.raw<T>(), g.raw<T>(), {}, p.numel()};
          for (T** s = e.s; const auto* state : states) *s++ = (*state)[i].template raw<T>();
        }
        prepare<Rule<T>>(head.parameter.device(), std::move(all), head.factor,
                         [=, group = head.group, index = head.index] { return make(type, group, index); });
      });
    }
  }

  /// Makes all updates, once. Starts with the parameters that several threads share, because only the start
  /// of the threads may fail.
  void run() {
    for (const bool shared : {true, false})
      for (auto& update : runs_) update(shared);
    for (std::uint64_t* version : versions_) ++*version;
  }

 private:
  template<class Rule, class T = typename Rule::type, class Make>
  void prepare(Device device, std::vector<Elements<T>> all, const Tensor& factor, Make make) {
    if constexpr (built_with_cuda)
      if (device.is_cuda()) {
        runs_.push_back([=, rule = cuda::replay_arg<Rule>(make)](bool shared) {
          if (!shared) update_on_gpu<Rule>(device, all, factor.raw<double>(), rule);
        });
        return;
      }
    const double scale = factor ? factor.item() : 1;
    runs_.push_back([all = std::move(all), rule = make(), scale](bool shared) {
      const auto tile_of = [&](const Elements<T>& e, std::int64_t i) {
        const std::int64_t first = i * tile, last = std::min(e.n, first + tile);
        if (scale == 1) return update_tile(rule, e, first, last, [](T g) { return g; });
        update_tile(rule, e, first, last, [scale](T g) { return scaled(g, scale); });
      };
      for (const Elements<T>& e : all) {
        const std::int64_t tiles = ceil_div(e.n, tile);
        if ((tiles > 1) != shared) continue;
        parallel_for(tiles, [&](std::int64_t i) { tile_of(e, i); });
      }
    });
  }

  std::vector<std::function<void(bool shared)>> runs_;
  std::vector<std::uint64_t*> versions_;
};

/// The updates by one rule, prepared and made.
template<template<class> class Rule, class Make>
void apply(std::span<const Optimizer::Part> parts, std::initializer_list<const std::vector<Tensor>*> states,
           Make make) {
  Updates updates;
  updates.add<Rule>(parts, states, make);
  updates.run();
}

/// Throws unless these tensors can be edited element by element, each once: DTypeError unless they are f32 or
/// f64, ShapeError for a strided view, ValueError where two have elements in common. `what` begins the
/// message.
void require_editable(std::string_view what, std::span<const Tensor> tensors);

/// Throws ValueError unless x is finite and not negative.
void require_not_negative(std::string_view what, std::string_view option, double x);
/// Throws ValueError unless 0 <= x < 1.
void require_fraction(std::string_view what, std::string_view option, double x);

}  // namespace bobbin::optim
