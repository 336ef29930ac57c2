// A step of an optimizer on a GPU: a launch updates many parameters; a block updates one range of elements.
#include "autograd/optim/rules.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/runtime.h"

namespace bobbin::optim {
namespace {

constexpr int threads = 256;

// The elements of a block: one pack per thread.
template<class T>
constexpr int stretch = threads* cuda::Pack<T>::size;

// The parameters of one launch. The arguments of a kernel have up to 4 KB; 128 bytes of them are for the
// rule.
template<class T>
struct Parts {
  static constexpr int capacity = (4096 - 128) / (sizeof(Elements<T>) + sizeof(unsigned));
  Elements<T> part[capacity];
  unsigned first[capacity];  // index of the first block of each
  int count;
  const double* factor;  // of the gradients; null for 1
};

// Elements [i, i + n).
template<int n, class Rule, class T>
__device__ void update(const Rule& rule, const Elements<T>& e, std::int64_t i, [[maybe_unused]] bool scales,
                       [[maybe_unused]] double factor) {
  using Pack = cuda::Pack<T, n>;
  Pack p = *reinterpret_cast<const Pack*>(e.p + i), s[2] = {};
  [[maybe_unused]] Pack g;
  if constexpr (reads_gradient<Rule>) g = *reinterpret_cast<const Pack*>(e.g + i);
#pragma unroll
  for (int k = 0; k < Rule::states; ++k) s[k] = *reinterpret_cast<const Pack*>(e.s[k] + i);
#pragma unroll
  for (int j = 0; j < n; ++j) {
    T state[] = {s[0].v[j], s[1].v[j]};
    if constexpr (reads_gradient<Rule>)
      rule(p.v[j], scales ? scaled(g.v[j], factor) : g.v[j], state);
    else
      rule(p.v[j], state);
    s[0].v[j] = state[0];
    s[1].v[j] = state[1];
  }
  *reinterpret_cast<Pack*>(e.p + i) = p;
#pragma unroll
  for (int k = 0; k < Rule::states; ++k) *reinterpret_cast<Pack*>(e.s[k] + i) = s[k];
}

template<class Rule, class T = typename Rule::type>
__global__ void __launch_bounds__(threads)
    step(const __grid_constant__ Parts<T> parts, const cuda::ReplayArg<Rule> rule_arg) {
  int k = 0;  // binary search: the last part whose first block is not after this one
  for (int half = 64; half > 0; half /= 2)
    if (k + half < parts.count && parts.first[k + half] <= blockIdx.x) k += half;
  const Elements<T> e = parts.part[k];
  const std::int64_t begin = std::int64_t{blockIdx.x - parts.first[k]} * stretch<T>, n = e.n - begin;

  cuda::await_previous();
  const Rule rule = rule_arg.get();
  const bool scales = reads_gradient<Rule> && parts.factor;
  const double factor = scales ? *parts.factor : 1;
  auto bits = reinterpret_cast<std::uintptr_t>(e.p) | reinterpret_cast<std::uintptr_t>(e.g);
  for (int j = 0; j < Rule::states; ++j) bits |= reinterpret_cast<std::uintptr_t>(e.s[j]);
  if (n >= stretch<T> && bits % 16 == 0)
    update<cuda::Pack<T>::size>(rule, e, begin + threadIdx.x * cuda::Pack<T>::size, scales, factor);
  else
    for (int i = threadIdx.x; i < n && i < stretch<T>; i += threads)
      update<1>(rule, e, begin + i, scales, factor);
}

}  // namespace

template<class Rule>
void update_on_gpu(Device device, std::span<const Elements<typename Rule::type>> all, const double* factor,
                   cuda::ReplayArg<Rule> rule) {
  using T = typename Rule::type;
  static_assert(sizeof(Parts<T>) + sizeof rule <= 4096 && Parts<T>::capacity <= 128);
  while (!all.empty()) {
    Parts<T> parts;
    parts.factor = factor;
    parts.count = static_cast<int>(all.size() < Parts<T>::capacity ? all.size() : Parts<T>::capacity);
    unsigned blocks = 0;
    for (int k = 0; k < parts.count; ++k) {
      parts.part[k] = all[k];
      parts.first[k] = blocks;
      blocks += cuda::blocks_for(all[k].n, stretch<T>);
    }
    cuda::launch("optimizer", {.device = device, .grid = blocks, .block = threads, .early = true}, step<Rule>,
                 parts, rule);
    all = all.subspan(parts.count);
  }
}

#define BOBBIN_RULE(Rule)                                                               \
  template void update_on_gpu(Device, std::span<const Elements<float>>, const double*,  \
                              cuda::ReplayArg<Rule<float>>);                            \
  template void update_on_gpu(Device, std::span<const Elements<double>>, const double*, \
                              cuda::ReplayArg<Rule<double>>);
BOBBIN_RULE(SgdRule)
BOBBIN_RULE(MomentumRule)
BOBBIN_RULE(AdamRule)
BOBBIN_RULE(RmsPropRule)
BOBBIN_RULE(RmsPropMomentumRule)
BOBBIN_RULE(AdagradRule)
BOBBIN_RULE(LionRule)
BOBBIN_RULE(BlendRule)
BOBBIN_RULE(ScaleRule)
BOBBIN_RULE(ClampRule)
BOBBIN_RULE(SwapRule)
#undef BOBBIN_RULE

}  // namespace bobbin::optim
