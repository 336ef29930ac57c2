// The loops over a fold (folds.h) that the CPU's reductions are made of.
#pragma once
#include <algorithm>

#include "ops/reduce/engine.h"
#include "ops/reduce/folds.h"

namespace bobbin {

template<class F>
class AccumulatorOf final : public Accumulator {
  using In = typename F::In;
  using A = typename F::A;
  using B = typename F::B;
  static_assert(sizeof(A) == 8 && sizeof(B) == 8);
  static A* a(Cells c) { return static_cast<A*>(c.a); }
  static B* b(Cells c) { return static_cast<B*>(c.b); }

 public:
  explicit AccumulatorOf(F f = {}) : f_(f) {}
  DType reads() const override { return dtype_of<In>(); }
  DType gives() const override { return dtype_of<decltype(f_.value(A(), B(), 0))>(); }

  void start(Cells c, std::int64_t n, std::int64_t step) const override {
    for (std::int64_t i = 0; i < n; ++i) F::start(a(c)[i], b(c)[i], step);
  }

  void add(Cells c, const void* x, std::int64_t n, std::int64_t rounds, std::int64_t done,
           std::int64_t step) const override {
    const auto* in = static_cast<const In*>(x);
    for (std::int64_t k = done; k < done + rounds; ++k, in += n) {
      if (n == lanes)
        round<lanes>(a(c), b(c), in, lanes, f_.at(step + k, k));
      else
        round<0>(a(c), b(c), in, n, f_.at(step + k, k));
    }
  }

  void fold(Cells c, std::int64_t n, std::int64_t rows) const override {
    const std::int64_t used = std::min(lanes, rows);
    if constexpr (requires { F::name(*b(c), 0, 0); })
      for (std::int64_t l = 0; l < used; ++l)
        for (std::int64_t i = 0; i < n; ++i) F::name(b(c)[l * n + i], l, lanes);
    std::int64_t count[lanes];
    for (std::int64_t l = 0; l < lanes; ++l) count[l] = (rows - l + lanes - 1) / lanes;
    for (std::int64_t half = lanes / 2; half > 0; half /= 2) {
      const std::int64_t pairs = std::min(used, 2 * half) - half;
      if (pairs <= 0) continue;
      if constexpr (!F::counts)
        merge(c, 1, c + half * n, 1, pairs * n);
      else
        for (std::int64_t l = 0; l < pairs; ++l) {
          merge(c + l * n, count[l], c + (l + half) * n, count[l + half], n);
          count[l] += count[l + half];
        }
    }
  }

  void merge(Cells to, std::int64_t count, Cells from, std::int64_t from_count,
             std::int64_t n) const override {
    A* __restrict p = a(to), * __restrict q = a(from);
    B* __restrict s = b(to), * __restrict t = b(from);
    for (std::int64_t i = 0; i < n; ++i) F::merge(p[i], s[i], count, q[i], t[i], from_count);
  }

  void value(Cells c, std::int64_t n, std::int64_t count, void* out) const override {
    auto* y = static_cast<decltype(f_.value(A(), B(), 0))*>(out);
    for (std::int64_t i = 0; i < n; ++i) y[i] = f_.value(a(c)[i], b(c)[i], count);
  }

 private:
  // A loop of known length that is not unrolled is one that GCC vectorises.
  template<std::int64_t known, class Context>
  static void round(A* __restrict p, B* __restrict q, const In* __restrict x, std::int64_t n,
                    const Context& c) {
#pragma GCC unroll 1
    for (std::int64_t i = 0; i < (known ? known : n); ++i) F::add(p[i], q[i], x[i], c);
  }

  F f_;
};

}  // namespace bobbin
