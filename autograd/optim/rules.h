// The update rules of the optimizers for one element, compiled for the CPU and for CUDA. A rule gets a
// parameter p, its gradient g and `states` numbers s that the optimizer keeps for it.
#pragma once
#include <bobbin/device.h>
#include <bobbin/dtype.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "core/cuda/replay_arg.h"

namespace bobbin::optim {

// Flushes subnormal numbers of moving averages to 0. The average of a gradient that stays 0 decays to a
// subnormal number, which rounding keeps above 0, and arithmetic with it costs a CPU some 150 cycles per
// step.
template<class T>
BOBBIN_HD T kept(T x) {
  constexpr T least = std::numeric_limits<T>::min();
  return -least < x && x < least ? T(0) : x;
}

// x times a factor in f64: one of f32 could be a subnormal number of few bits.
template<class T>
BOBBIN_HD T scaled(T x, double factor) {
  return static_cast<T>(static_cast<double>(x) * factor);
}

// The moving average s, of which `term` replaces the fraction c: (1 - c) s + term. Rules get c = 1 - beta,
// rounded once from f64, and not beta: 1 - .99999 in f32 is .0000100136, and an average that decays by one of
// the two numbers and grows by the other settles beside the mean.
template<class T>
BOBBIN_HD T average(T s, T c, T term) {
  return kept(s - c * s + term);
}

template<class T>
struct SgdRule {
  using type = T;
  static constexpr int states = 0;
  T rate, decay;
  BOBBIN_HD void operator()(T& p, T g, T*) const { p -= rate * (g + decay * p); }
};

template<class T>
struct MomentumRule {
  using type = T;
  static constexpr int states = 1;
  T rate, decay, mu;
  bool nesterov;
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    const T d = g + decay * p;
    s[0] = kept(mu * s[0] + d);
    p -= rate * (nesterov ? d + mu * s[0] : s[0]);
  }
};

template<class T>
struct AdamRule {
  using type = T;
  static constexpr int states = 2;
  T c1, c2;  // 1 - beta1, 1 - beta2
  T eps, decay;
  T shrink;  // the learning rate times the decoupled weight decay
  T rate;    // the learning rate divided by 1 - beta1^steps, the bias correction of the mean
  T unbias;  // 1 / sqrt(1 - beta2^steps), the bias correction of the root of the second moment
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = average(s[0], c1, c1 * g);
    s[1] = average(s[1], c2, c2 * g * g);
    p -= shrink * p + rate * s[0] / (sqrt(s[1]) * unbias + eps);
  }
};

template<class T>
struct RmsPropRule {
  using type = T;
  static constexpr int states = 1;
  T rate, decay, c, eps;  // c = 1 - alpha
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = average(s[0], c, c * g * g);
    p -= rate * g / (sqrt(s[0]) + eps);
  }
};

template<class T>
struct RmsPropMomentumRule {
  using type = T;
  static constexpr int states = 2;
  T rate, decay, c, eps, mu;  // c = 1 - alpha
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = average(s[0], c, c * g * g);
    s[1] = kept(mu * s[1] + g / (sqrt(s[0]) + eps));
    p -= rate * s[1];
  }
};

template<class T>
struct AdagradRule {
  using type = T;
  static constexpr int states = 1;
  T rate, decay, eps;
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] += g * g;
    p -= rate * g / (sqrt(s[0]) + eps);
  }
};

template<class T>
struct LionRule {
  using type = T;
  static constexpr int states = 1;
  T rate, shrink, c1,
      c2;  // shrink = the learning rate times the weight decay, c1 = 1 - beta1, c2 = 1 - beta2
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    const T u = s[0] - c1 * s[0] + c1 * g;
    p -= shrink * p + (u > 0 ? rate : u < 0 ? -rate : u * 0);  // u * 0 keeps NaN
    s[0] = average(s[0], c2, c2 * g);
  }
};

// p = (1 - shrink) p - rate g: a step along a given direction (Muon), or a moving average (Ema, Muon).
template<class T>
struct BlendRule {
  using type = T;
  static constexpr int states = 0;
  T shrink, rate;
  BOBBIN_HD void operator()(T& p, T g, T*) const { p -= shrink * p + rate * g; }
};

// Rules that read no gradient. They edit gradients, or exchange tensors.

// Multiplies by a number in f64, which is read from the device if `on_device` is set.
template<class T>
struct ScaleRule {
  using type = T;
  static constexpr int states = 0;
  double factor;
  const double* on_device;
  BOBBIN_HD void operator()(T& p, T*) const { p = scaled(p, on_device ? *on_device : factor); }
};

// Clamps to [-limit, limit]; NaN stays NaN.
template<class T>
struct ClampRule {
  using type = T;
  static constexpr int states = 0;
  T limit;
  BOBBIN_HD void operator()(T& p, T*) const { p = p > limit ? limit : p < -limit ? -limit : p; }
};

// Exchanges p and the state.
template<class T>
struct SwapRule {
  using type = T;
  static constexpr int states = 1;
  BOBBIN_HD void operator()(T& p, T* s) const {
    const T own = p;
    p = s[0];
    s[0] = own;
  }
};

/// Whether a rule reads a gradient.
template<class Rule, class T = typename Rule::type>
constexpr bool reads_gradient = requires(const Rule& rule, T& p, T g, T* s) {
  rule(p, g, s);
};

/// The n elements of one parameter. `g` is null for rules that read no gradient.
template<class T>
struct Elements {
  T* p;
  const T* g;
  T* s[2];
  std::int64_t n;
};

/// Applies a rule to all parameters; their gradients are scaled by *factor unless it is null. One launch
/// updates as many as fit into the kernel's arguments. Defined in optim.cu.
template<class Rule>
void update_on_gpu(Device, std::span<const Elements<typename Rule::type>>, const double* factor,
                   cuda::ReplayArg<Rule>);

}  // namespace bobbin::optim
