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
  T b1, b2, eps, decay;
  T keep;    // the factor of decoupled weight decay
  T rate;    // the learning rate divided by 1 - b1^step, the bias correction of the mean
  T unbias;  // 1 / sqrt(1 - b2^step), the bias correction of the root of the second moment
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = kept(b1 * s[0] + (1 - b1) * g);
    s[1] = kept(b2 * s[1] + (1 - b2) * g * g);
    p = keep * p - rate * s[0] / (sqrt(s[1]) * unbias + eps);
  }
};

template<class T>
struct RmsPropRule {
  using type = T;
  static constexpr int states = 1;
  T rate, decay, alpha, eps;
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = kept(alpha * s[0] + (1 - alpha) * g * g);
    p -= rate * g / (sqrt(s[0]) + eps);
  }
};

template<class T>
struct RmsPropMomentumRule {
  using type = T;
  static constexpr int states = 2;
  T rate, decay, alpha, eps, mu;
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    using std::sqrt;
    g += decay * p;
    s[0] = kept(alpha * s[0] + (1 - alpha) * g * g);
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
  T rate, keep, b1, b2;
  BOBBIN_HD void operator()(T& p, T g, T* s) const {
    const T u = b1 * s[0] + (1 - b1) * g;
    p = keep * p - (u > 0 ? rate : u < 0 ? -rate : u * 0);  // u * 0 keeps NaN
    s[0] = kept(b2 * s[0] + (1 - b2) * g);
  }
};

// p = keep p - rate g: a step along a given direction (Muon), or a moving average (Ema).
template<class T>
struct BlendRule {
  using type = T;
  static constexpr int states = 0;
  T keep, rate;
  BOBBIN_HD void operator()(T& p, T g, T*) const { p = keep * p - rate * g; }
};

/// The n elements of one parameter.
template<class T>
struct Elements {
  T* p;
  const T* g;
  T* s[2];
  std::int64_t n;
};

/// Applies a rule to all parameters. One launch updates as many as fit into the kernel's arguments. Defined
/// in optim.cu.
template<class Rule>
void update_on_gpu(Device, std::span<const Elements<typename Rule::type>>, cuda::ReplayArg<Rule>);

}  // namespace bobbin::optim
