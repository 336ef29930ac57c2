// Reductions on the CPU: the loops over a reducer, and which reducer each operation uses.
#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "ops/elementwise/map.h"
#include "ops/reduce/cpu_reduce.h"
#include "ops/reduce/reduce.h"
#include "ops/reduce/reducers.h"

namespace bobbin {
namespace {

/// A reducer F as loops over arrays.
template<class F>
class ReducerOf final : public Reducer {
  using In = typename F::In;
  using A = typename F::A;
  using B = typename F::B;
  static_assert(sizeof(A) == 8 && sizeof(B) == 8);
  static A* a(Accumulators c) { return static_cast<A*>(c.a); }
  static B* b(Accumulators c) { return static_cast<B*>(c.b); }

 public:
  explicit ReducerOf(F f = {}) : f_(f) {}
  DType reads() const override { return dtype_of<In>(); }
  DType gives() const override { return dtype_of<decltype(f_.project(A(), B(), 0))>(); }

  void init(Accumulators c, std::int64_t n, std::int64_t step) const override {
    for (std::int64_t i = 0; i < n; ++i) F::init(a(c)[i], b(c)[i], step);
  }

  void reduce(Accumulators c, const void* x, std::int64_t n, std::int64_t rounds, std::int64_t done,
              std::int64_t step) const override {
    const auto* in = static_cast<const In*>(x);
    for (std::int64_t k = done; k < done + rounds; ++k, in += n) {
      if (n == lanes)
        round<lanes>(a(c), b(c), in, lanes, f_.context(step + k, k));
      else
        round<0>(a(c), b(c), in, n, f_.context(step + k, k));
    }
  }

  void combine_lanes(Accumulators c, std::int64_t n, std::int64_t rows) const override {
    const std::int64_t used = std::min(lanes, rows);
    if constexpr (requires { F::index(*b(c), 0, 0); })
      for (std::int64_t l = 0; l < used; ++l)
        for (std::int64_t i = 0; i < n; ++i) F::index(b(c)[l * n + i], l, lanes);
    std::int64_t count[lanes];
    for (std::int64_t l = 0; l < lanes; ++l) count[l] = (rows - l + lanes - 1) / lanes;
    for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
      const std::int64_t pairs = std::min(used, 2 * half) - half;
      if (pairs <= 0) continue;
      if constexpr (!F::counts)
        combine(c, 1, c + half * n, 1, pairs * n);
      else
        for (std::int64_t l = 0; l < pairs; ++l) {
          combine(c + l * n, count[l], c + (l + half) * n, count[l + half], n);
          count[l] += count[l + half];
        }
    }
  }

  void combine(Accumulators to, std::int64_t count, Accumulators from, std::int64_t from_count,
               std::int64_t n) const override {
    A* __restrict p = a(to), * __restrict q = a(from);
    B* __restrict s = b(to), * __restrict t = b(from);
    for (std::int64_t i = 0; i < n; ++i) f_.combine(p[i], s[i], count, q[i], t[i], from_count);
  }

  void project(Accumulators c, std::int64_t n, std::int64_t count, void* out) const override {
    auto* y = static_cast<decltype(f_.project(A(), B(), 0))*>(out);
    for (std::int64_t i = 0; i < n; ++i) y[i] = f_.project(a(c)[i], b(c)[i], count);
  }

 private:
  // GCC vectorises a loop of known length only if it is not unrolled.
  template<std::int64_t known, class Context>
  static void round(A* __restrict p, B* __restrict q, const In* __restrict x, std::int64_t n,
                    const Context& c) {
#pragma GCC unroll 1
    for (std::int64_t i = 0; i < (known ? known : n); ++i) F::reduce(p[i], q[i], x[i], c);
  }

  F f_;
};

template<class F>
void run(F f, const ReductionAxes& over, const Tensor& x, const Tensor* y, const Tensor* index = nullptr) {
  reduce(ReducerOf<F>(f), x, over.normalized(x.shape()), y, index);
}

void run_sum(bool mean, const ReductionAxes& over, const Tensor& x, Tensor& y) {
  if (x.dtype() == DType::f64)
    run(reducer::Sum<double, double>{{}, mean}, over, x, &y);
  else if (is_floating(x.dtype()))
    run(reducer::Sum<float, double>{{}, mean}, over, x, &y);
  else
    run(reducer::Sum<std::int64_t, std::int64_t>{}, over, x, &y);
}

// f64 holds every floating type exactly, and i64 every other.
template<bool largest>
void run_extreme(const ReductionAxes& over, const Tensor& x, const Tensor* y, const Tensor* index) {
  if (is_floating(x.dtype()))
    run(reducer::Extreme<double, largest>{}, over, x, y, index);
  else
    run(reducer::Extreme<std::int64_t, largest>{}, over, x, y, index);
}

}  // namespace

void Sum::cpu(Inputs x, Tensor& y) const { run_sum(false, over, x[0], y); }
void Mean::cpu(Inputs x, Tensor& y) const { run_sum(true, over, x[0], y); }
void Var::cpu(Inputs x, Tensor& y) const { run(reducer::Variance{correction, false}, over, x[0], &y); }
void Std::cpu(Inputs x, Tensor& y) const {
  run(reducer::Variance{correction, true}, over, x[0], &y);
  if (y.dtype() != DType::f64) return;
  const std::span values(y.raw<double>(), static_cast<std::size_t>(y.numel()));
  if (std::ranges::none_of(values, reducer::squares_leave_range)) return;
  // The norm of the deviations has no squares out of range.
  Tensor d = empty(x[0].shape(), DType::f64), scaled = empty(y.shape(), DType::f64);
  Deviation{over.axes}.cpu(x, d);
  Norm{over}.cpu(std::array{d}, scaled);
  const double freedom = static_cast<double>(over.count(x[0].shape())) - correction;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (freedom > 0 && reducer::squares_leave_range(values[i]))
      values[i] = scaled.raw<double>()[i] / std::sqrt(freedom);
}

void Deviation::cpu(Inputs x, Tensor& y) const {
  if (y.numel() == 0) return;
  const ReductionAxes over{axes, true};
  Tensor means = empty(over.infer(name, x[0], DType::f64));
  run_sum(true, over, x[0], means);
  detail::map<double, double>(fn::Sub{}, std::array{x[0], means}, y);
}

template<bool largest>
void FirstExtreme<largest>::cpu(Inputs x, Tensor& y, std::span<Tensor> aux) const {
  run_extreme<largest>(over, x[0], &y, aux.empty() ? nullptr : &aux[0]);
}
template<bool largest>
void SharedExtreme<largest>::cpu(Inputs x, Tensor& y) const {
  run_extreme<largest>(over, x[0], &y, nullptr);
}
template<bool largest>
void ArgExtreme<largest>::cpu(Inputs x, Tensor& y) const {
  run_extreme<largest>(over, x[0], nullptr, &y);
}
template void FirstExtreme<true>::cpu(Inputs, Tensor&, std::span<Tensor>) const;
template void FirstExtreme<false>::cpu(Inputs, Tensor&, std::span<Tensor>) const;
template void SharedExtreme<true>::cpu(Inputs, Tensor&) const;
template void SharedExtreme<false>::cpu(Inputs, Tensor&) const;
template void ArgExtreme<true>::cpu(Inputs, Tensor&) const;
template void ArgExtreme<false>::cpu(Inputs, Tensor&) const;

void LogSumExp::cpu(Inputs x, Tensor& y) const {
  if (x[0].dtype() == DType::f64)
    run(reducer::LogSumExp<double>{}, over, x[0], &y);
  else
    run(reducer::LogSumExp<float>{}, over, x[0], &y);
}

void Norm::cpu(Inputs x, Tensor& y) const {
  using reducer::Power;
  if (p == 1)
    run(reducer::Norm<Power::one>{}, over, x[0], &y);
  else if (p == 2 && x[0].dtype() == DType::f64)
    run(reducer::WideNorm{}, over, x[0], &y);
  else if (p == 2)
    run(reducer::Norm<Power::two>{}, over, x[0], &y);
  else if (std::isinf(p))
    run(reducer::MaxNorm{}, over, x[0], &y);
  else
    run(reducer::PowerNorm{p}, over, x[0], &y);
}

}  // namespace bobbin
