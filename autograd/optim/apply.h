// Applies an update rule to all parameters of a step, on the CPU or on a GPU.
#pragma once
#include <bobbin/optim.h>
#include <bobbin/parallel.h>

#include <algorithm>

#include "autograd/optim/rules.h"
#include "core/ceil_div.h"

namespace bobbin::optim {

// Calls f(first, last) in parallel for ranges of [0, n) that depend on n alone.
template<class F>
void ranges(std::int64_t n, F&& f) {
  constexpr std::int64_t size = 1 << 14;
  parallel_for(ceil_div(n, size), [&](std::int64_t i) { f(i * size, std::min(n, (i + 1) * size)); });
}

template<class Rule, class T = typename Rule::type>
void update_on_cpu(const Rule& rule, const Elements<T>& e) {
  T* __restrict p = e.p, * __restrict s0 = e.s[0], * __restrict s1 = e.s[1];
  const T* __restrict g = e.g;
  ranges(e.n, [=](std::int64_t first, std::int64_t last) {
    for (std::int64_t k = first; k < last; ++k) {
      static_assert(Rule::states <= 2);
      T s[2];
      if constexpr (Rule::states > 0) s[0] = s0[k];
      if constexpr (Rule::states > 1) s[1] = s1[k];
      rule(p[k], g[k], s);
      if constexpr (Rule::states > 0) s0[k] = s[0];
      if constexpr (Rule::states > 1) s1[k] = s[1];
    }
  });
}

/// Applies a rule to all parts: make(Type<T>{}, group) returns the rule of a group. Neighbouring parts of the
/// same group, dtype and device are updated in one call.
template<template<class> class Rule, class Make>
void apply(std::span<const Optimizer::Part> parts, std::initializer_list<const std::vector<Tensor>*> states,
           Make make) {
  for (auto first = parts.begin(); first != parts.end();) {
    const Device device = first->parameter.device();
    const DType dtype = first->parameter.dtype();
    const std::size_t group = first->group;
    const auto last = std::find_if(first, parts.end(), [&](auto& part) {
      return part.parameter.device() != device || part.parameter.dtype() != dtype || part.group != group;
    });
    visit_some<double, float>(dtype, [&]<class T>(Type<T> type) {
      std::vector<Elements<T>> all;
      for (; first != last; ++first) {
        const auto& [i, own, p, g] = *first;
        Elements<T>& e = all.emplace_back();
        e = {p.raw<T>(), g.raw<T>(), {}, p.numel()};
        for (T** s = e.s; const auto* state : states) *s++ = (*state)[i].template raw<T>();
        ++p.storage()->version;
      }
      if constexpr (built_with_cuda)
        if (device.is_cuda())
          return update_on_gpu<Rule<T>>(device, all,
                                        cuda::replay_arg<Rule<T>>([=] { return make(type, group); }));
      const Rule<T> rule = make(type, group);
      for (auto& e : all) update_on_cpu(rule, e);
    });
  }
}

}  // namespace bobbin::optim
