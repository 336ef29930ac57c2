// What cross-entropy does with a row of logits, for the row engine (row_functor.cuh) and for a kernel of its
// own. A row costs -sum_c t[c] log p[c], where t[c] is the weight of class c times (1-e) of its target plus
// e/C. The gradient of the logits is g (p sum(t) - t).
#pragma once
#include <bobbin/tensor.h>

#include "ops/cuda/rows/functor.cuh"
#include "ops/cuda/rows/operands.h"

namespace bobbin::cuda {

/// What `mean` divides by, and its reciprocal; counted where they depend on what is on the device.
struct Divisor {
  double value = 1, reciprocal = 1;
  double* counted = nullptr;  // both

  __device__ double get() const { return counted ? counted[0] : value; }
  __device__ double inverse() const { return counted ? counted[1] : reciprocal; }
  __device__ void set(double v) const {
    counted[0] = v;
    counted[1] = 1 / v;
  }
};

template<class T>
struct CrossEntropyCall {
  using C = Compute<T>;
  const T* x;
  const std::int64_t* index;  // the rows' classes; null: probabilities
  const T* probabilities;
  const T* weight;      // of the classes; null: ones
  const T* cotangent;   // of the loss; null: 1
  bool row_cotangents;  // one a row
  T* row_losses;        // each row's loss, or
  C* costs;             // what is yet to be summed, or, where there is a cotangent, neither
  std::int64_t rows, classes, inner, ignore_index;
  C on, spread;  // 1-e, e/C
  Divisor divisor;

  /// A row's class, or one of these. Above all classes: there are fewer than 2^32 - 64.
  static constexpr unsigned none = ~0u - 2, outside = ~0u - 1, ignored = ~0u;
  __device__ unsigned class_of(std::int64_t r) const { return index ? named(index[r]) : none; }
  __device__ unsigned named(std::int64_t y) const {
    return y == ignore_index ? ignored : y >= 0 && y < classes ? static_cast<unsigned>(y) : outside;
  }
  __device__ C weight_of(unsigned y) const { return weight && y < none ? widen(weight[y]) : C(1); }

  __device__ C cotangent_of(std::int64_t r) const { return widen(cotangent[row_cotangents ? r : 0]); }

  /// Where class c of row r lies.
  __device__ std::int64_t element(std::int64_t r, std::int64_t c) const {
    return inner == 1 ? r * classes + c : (r / inner * classes + c) * inner + r % inner;
  }

  /// t[c] / unit() of row r, less what the row's own class gets by its index. In that unit, sums over classes
  /// without weights are exact.
  __device__ C coefficient(std::int64_t r, std::int64_t c) const {
    const C t = probabilities ? widen(probabilities[element(r, c)]) * on + spread : C(1);
    return weight ? widen(weight[c]) * t : t;
  }
  __device__ C unit() const { return probabilities ? C(1) : spread; }
};

/// What there is to a row beside its own class: nothing; as much of each class; or classes differ in their
/// coefficients: probabilities, or weights and smoothing.
enum class Spread { none, even, dense };

template<class T, Spread spread>
struct CrossEntropyRow {
  using Storage = T;
  using C = Compute<T>;
  using Call = CrossEntropyCall<T>;
  static constexpr bool dense = spread == Spread::dense, even = spread == Spread::even;
  static constexpr int inputs = 1, sums = dense ? 4 : even ? 3 : 2;
  static constexpr bool peak = true, keeps = std::is_same_v<C, T>;
  // Of a row, m being its maximum: the exponentials but for those that are 1, which would round small ones
  // away; how many those are; sum (origin - x), or dense, sum t (m - x); and sum t. As many as are wanted.
  enum Sum { rest, equals, distance, share };

  Call call;

  struct Class {
    unsigned y = Call::none;
    C own = 0;  // its logit; for a row with a cotangent, that
  };
  struct ClassAndNumber : Class {
    std::int64_t r = 0;
  };
  using Row = std::conditional_t<dense, ClassAndNumber, Class>;
  /// Where this kernel began early, that before it counts what `mean` divides by, and is awaited here, while
  /// the logits are on their way: they were there before that one began.
  __device__ Row row(std::int64_t r) const {
    Row row;
    row.y = call.class_of(r);
    if (call.cotangent)
      row.own = call.cotangent_of(r);
    else if (row.y < Call::none)
      row.own = widen(call.x[call.element(r, row.y)]);
    if constexpr (dense) row.r = r;
    await_previous();
    return row;
  }

  template<int n>
  __device__ __forceinline__ void add(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                      std::int64_t column) const {
    add_any<false>(v, m, s, row, column);
  }
  template<int n>
  __device__ __forceinline__ void add_apart(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                            std::int64_t column) const {
    add_any<true>(v, m, s, row, column);
  }

  __device__ __forceinline__ void rescale(C (&s)[sums], C from, C to) const {
    if (from == to) return;
    s[rest] = (s[rest] + s[equals]) * exp_between<T>(from, to);
    s[equals] = 0;
    if constexpr (dense) s[distance] += times(s[share], to - from);
  }

  struct Finish {
    C max, k, up, own;  // dx = k e - up (dense: times coefficient), less `own` at the row's class
  };
  __device__ __forceinline__ Finish finish(C own_max, C max, const C (&s)[sums], const Row& row) const {
    C up = static_cast<C>(call.divisor.inverse());
    if (call.cotangent) up *= row.own;
    Finish f{.max = max, .k = 0, .up = 0, .own = up * own_coefficient(row)};
    C all = f.own;
    if constexpr (dense || even) {
      f.up = up * call.unit();
      all += f.up * (dense ? s[sums - 1] : static_cast<C>(call.classes));
    }
    f.k = proper(max, row) ? all / (s[rest] + s[equals]) : std::numeric_limits<C>::quiet_NaN();
    if (row.y == Call::ignored) f.k = f.up = f.own = 0;
    if (keeps && own_max != max) f.k *= exp_between<T>(own_max, max);
    return f;
  }

  template<bool kept, int n>
  __device__ __forceinline__ void put(C (&v)[1][n], const Finish& f, const Row& row,
                                      std::int64_t column) const {
#pragma unroll
    for (int j = 0; j < n; ++j) {
      v[0][j] = f.k * (kept ? v[0][j] : exp_minus<T>(v[0][j], f.max));
      if constexpr (dense)
        v[0][j] -= f.up * call.coefficient(row.r, column + j);
      else if constexpr (even)
        v[0][j] -= f.up;
    }
    const unsigned own = row.y - static_cast<unsigned>(column);
#pragma unroll
    for (int j = 0; j < n; ++j) {  // without branches: they cost registers
      if (own == j) v[0][j] -= f.own;
      if (!kept && row.y == Call::ignored) v[0][j] = 0;  // whatever it was
    }
  }

  __device__ void result(std::int64_t r, const Row& row, C max, const C (&s)[sums]) const {
    if (call.row_losses)
      call.row_losses[r] = narrow<T>(cost(row, max, s));
    else if (call.costs)
      call.costs[r] = cost(row, max, s);
  }

  __device__ C cost(const Row& row, C max, const C (&s)[sums]) const {
    using std::log1p;
    if (row.y == Call::ignored) return 0;
    const C log = proper(max, row) ? log1p(s[rest] + (s[equals] - 1)) : std::numeric_limits<C>::quiet_NaN();
    if (log != log) return log;  // NaN logits give NaN whatever the target
    const C own = times(own_coefficient(row), (max - row.own) + log);
    if constexpr (dense)
      return own + times(call.unit(), s[distance] + s[share] * log);
    else if constexpr (even)
      return own +
             times(call.spread, s[distance] + static_cast<C>(call.classes) * ((max - origin(row)) + log));
    else
      return own;
  }

 private:
  template<bool apart, int n>
  __device__ __forceinline__ void add_any(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                          std::int64_t column) const {
    if constexpr (dense || even)
      if (static_cast<unsigned>(column) < static_cast<unsigned>(call.classes)) {
        C far = 0;
#pragma unroll
        for (int j = 0; j < n; ++j) {
          if constexpr (dense) {
            const C t = call.coefficient(row.r, column + j);
            far += v[0][j] == m ? C(0) : times(t, m - v[0][j]);
            s[share] += t;
          } else {
            far += origin(row) - v[0][j];
          }
        }
        s[distance] += far;
      }

    const C shift = m == -infinity<C>() ? C(0) : m;
    constexpr int part = n < 4 ? n : 4;
#pragma unroll
    for (int i = 0; i < n; i += part) {
      C e[part], all[part];
#pragma unroll
      for (int j = 0; j < part; ++j) {
        all[j] = e[j] = exp_minus<T>(v[0][i + j], shift);
        if constexpr (keeps) v[0][i + j] = e[j];
      }
      // Most parts have no maximum. But of several rows, each has its own elsewhere: all would go both ways.
      if (const C sum = apart ? C(1) : sum_of(all); sum < 1) {
        s[rest] += sum;
      } else {
#pragma unroll
        for (int j = 0; j < part; ++j) {
          e[j] >= 1 ? s[equals] += 1 : s[rest] += e[j];
          if constexpr (keeps) v[0][i + j] = larger(e[j], C(0));  // not NaN: the sum knows of it
        }
      }
    }
  }

  // a b, but 0 where a is: a class of no weight costs nothing, whatever its logit.
  static __device__ __forceinline__ C times(C a, C b) { return a == 0 ? C(0) : a * b; }

  // What distances are measured from: as far from the logits as the row is dear, but finite.
  static __device__ __forceinline__ C origin(const Row& row) {
    return row.own - row.own == 0 ? row.own : C(0);
  }

  // What the index adds to t at the row's own class.
  __device__ C own_coefficient(const Row& row) const {
    return row.y < Call::none ? call.weight_of(row.y) * call.on : C(0);
  }

  // A row that holds +inf, or nothing but -inf, or a class out of range, has NaN for loss and gradient.
  static __device__ bool proper(C max, const Row& row) { return max - max == 0 && row.y != Call::outside; }
};

/// Enqueues the rows of a call that is not dense; their gradient goes to the operands' output, where there is
/// one. cross_entropy_rows.cu, cross_entropy_smoothed.cu
template<class T, Spread spread>
void run_cross_entropy(std::string_view op, const RowOperands&, const CrossEntropyCall<T>&, bool early);

}  // namespace bobbin::cuda
