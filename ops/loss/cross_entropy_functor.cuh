// The computation of cross-entropy on a row of logits: a functor of the row engine
// (ops/cuda/rows/functor.cuh), which the kernels without the row engine use too. The loss of a row is
// -sum_c t[c] log p[c], where t[c] is the weight of class c times ((1-e) target[c] + e/C), with label
// smoothing e. The gradient of the logits is g (p sum(t) - t).
#pragma once
#include <bobbin/tensor.h>

#include "ops/cuda/rows/functor.cuh"
#include "ops/cuda/rows/operands.h"

namespace bobbin::cuda {

/// The divisor of `mean`, and its reciprocal. If they depend on data, a kernel writes both to `counted`.
struct Divisor {
  double value = 1, reciprocal = 1;
  double* counted = nullptr;

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
  const std::int64_t* index;  // class of each row; null if the target is probabilities
  const T* probabilities;
  const T* weight;      // of each class; null: 1
  const T* cotangent;   // of the loss; null: 1
  bool row_cotangents;  // whether there is one cotangent per row
  // The loss of each row: the result, or terms of a later sum; null in the backward operation.
  T* losses;
  C* losses_to_sum;
  std::int64_t rows, classes, inner, ignore_index;
  C confidence, smoothing;  // 1-e, e/C
  Divisor divisor;

  /// The class of a row, or one of these values, which are above all classes: there are fewer than 2^32 - 64.
  static constexpr unsigned none = ~0u - 2, outside = ~0u - 1, ignored = ~0u;
  __device__ unsigned class_of(std::int64_t r) const { return index ? class_of_index(index[r]) : none; }
  __device__ unsigned class_of_index(std::int64_t y) const {
    return y == ignore_index ? ignored : y >= 0 && y < classes ? static_cast<unsigned>(y) : outside;
  }
  __device__ C weight_of(unsigned y) const { return weight && y < none ? widen(weight[y]) : C(1); }

  __device__ C cotangent_of(std::int64_t r) const { return widen(cotangent[row_cotangents ? r : 0]); }

  /// The offset of class c of row r.
  __device__ std::int64_t element(std::int64_t r, std::int64_t c) const {
    return inner == 1 ? r * classes + c : (r / inner * classes + c) * inner + r % inner;
  }

  /// t[c] / unit() of row r, without the term of the row's own class. With this unit, sums over classes are
  /// exact if there are no weights.
  __device__ C coefficient(std::int64_t r, std::int64_t c) const {
    const C t = probabilities ? widen(probabilities[element(r, c)]) * confidence + smoothing : C(1);
    return weight ? widen(weight[c]) * t : t;
  }
  __device__ C unit() const { return probabilities ? C(1) : smoothing; }
};

/// Targets of a row: one class (index); one class, and one equal value for every other class (smoothed); or
/// any numbers (dense: probabilities, or weights with label smoothing).
enum class TargetKind { index, smoothed, dense };

template<class T, TargetKind kind>
struct CrossEntropyRow {
  using Storage = T;
  using C = Compute<T>;
  using Call = CrossEntropyCall<T>;
  static constexpr bool dense = kind == TargetKind::dense, smoothed = kind == TargetKind::smoothed;
  static constexpr int inputs = 1, sums = dense ? 5 : smoothed ? 3 : 2;
  static constexpr bool has_max = true, caches = std::is_same_v<C, T>;
  // The sums of a row with maximum m: index targets need the first two, smoothed ones three, dense ones all.
  // rest: the exponentials of elements below m. equals: the number of elements equal to m, which is kept
  // apart because adding it would round small exponentials away. distance: sum (origin - x), or for dense
  // targets sum t (m - x). share: sum t over the elements below m. top_share: over those equal to m.
  enum Sum { rest, equals, distance, share, top_share };

  Call call;

  struct ClassData {
    unsigned y = Call::none;
    C own = 0;  // the logit of the class
    C up = 0;   // the cotangent of the row's loss, divided by the divisor
  };
  struct ClassDataAndRow : ClassData {
    std::int64_t r = 0;
  };
  using Row = std::conditional_t<dense, ClassDataAndRow, ClassData>;
  /// Reads the class and its logit, and then waits for the previous kernel, which computes the divisor of
  /// `mean`. That kernel does not write classes or logits, so their loads may start before it ends.
  __device__ Row row(std::int64_t r) const {
    Row row;
    row.y = call.class_of(r);
    if (row.y < Call::none) row.own = widen(call.x[call.element(r, row.y)]);
    if constexpr (dense) row.r = r;
    await_previous();
    row.up = up(r);
    return row;
  }
  __device__ C up(std::int64_t r) const {
    const C up = static_cast<C>(call.divisor.inverse());
    return call.cotangent ? up * call.cotangent_of(r) : up;
  }

  template<int n>
  __device__ __forceinline__ void add(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                      std::int64_t column) const {
    add_elements<false>(v, m, s, row, column);
  }
  template<int n>
  __device__ __forceinline__ void add_divergent(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                                std::int64_t column) const {
    add_elements<true>(v, m, s, row, column);
  }

  __device__ __forceinline__ void rescale(C (&s)[sums], C from, C to) const {
    if (from == to) return;
    s[rest] = (s[rest] + s[equals]) * exp_between<T>(from, to);
    s[equals] = 0;
    if constexpr (dense) {
      s[share] += s[top_share];
      s[top_share] = 0;
      s[distance] += times(s[share], to - from);
    }
  }

  /// dx = k e - up, and class_k e + class_up at the row's class. That is (k e - up) - own, but where the
  /// class has the maximal logit, so that these terms may nearly cancel, it is the sum of what the other
  /// elements' exponentials and targets contribute.
  struct SparseFinish {
    C max, k, up, class_k, class_up;
  };
  /// dx = k e - up times the coefficient, minus `own` at the row's class. At an element equal to the maximum,
  /// these terms may nearly cancel: `top` is dx at the row's class if its e is 1, from the other elements'
  /// exponentials and targets, and top + own is dx at the only element equal to the maximum, if it is not of
  /// the row's class.
  struct DenseFinish {
    C max, k, up, own, top;
    bool
        one_top;  // whether one element alone is equal to the maximum, and this thread's e are relative to it
  };
  using Finish = std::conditional_t<dense, DenseFinish, SparseFinish>;
  __device__ __forceinline__ Finish finish(C own_max, C max, const C (&s)[sums], const Row& row) const {
    Finish f{};
    f.max = max;
    C own = row.up * own_coefficient(row);
    C all = own, others = 0;  // row.up times all targets, and times those that `top` leaves
    if constexpr (dense || smoothed) {
      f.up = row.up * call.unit();
      all += f.up * (dense ? s[sums - 2] + s[sums - 1] : static_cast<C>(call.classes));
      others = f.up * (dense ? s[sums - 2] : static_cast<C>(call.classes - 1));
    }
    f.k = valid(max, row) ? all / (s[rest] + s[equals]) : std::numeric_limits<C>::quiet_NaN();
    // Only next to a probability of 1 are the others' sums the smaller ones.
    const C below = s[rest] + (s[equals] - 1);
    const bool near_one = below < 1 || !(dense || smoothed);
    C top = near_one ? others - f.k * below : f.k - f.up - own;
    if (row.y == Call::ignored) f.k = f.up = own = top = 0;
    const bool scaled = caches && own_max != max;
    if (scaled) f.k *= exp_between<T>(own_max, max);
    if constexpr (dense) {
      f.own = own;
      f.top = top;
      f.one_top = near_one && s[equals] == 1 && !scaled;
    } else {
      const bool is_max = row.own == max;
      f.class_k = is_max ? C(0) : f.k;
      f.class_up = is_max ? top : -(f.up + own);
    }
    return f;
  }

  template<bool cached, int n>
  __device__ __forceinline__ void put(C (&v)[1][n], const Finish& f, const Row& row,
                                      std::int64_t column) const {
    const unsigned own = row.y - static_cast<unsigned>(column);
#pragma unroll
    for (int j = 0; j < n; ++j) {  // a branch around the loop would need more registers
      const C e = cached ? v[0][j] : exp_minus<T>(v[0][j], f.max);
      v[0][j] = f.k * e;
      if constexpr (dense) {
        v[0][j] -= f.up * call.coefficient(row.r, column + j);
        if (own == j) v[0][j] -= f.own;
        if (f.one_top && e >= 1) v[0][j] = own == j ? f.top : f.top + f.own;
      } else {
        if constexpr (smoothed) v[0][j] -= f.up;
        if (own == j) v[0][j] = f.class_k * e + f.class_up;
      }
      if (!cached && row.y == Call::ignored) v[0][j] = 0;  // also where the logit is NaN or infinite
    }
  }

  __device__ void result(std::int64_t r, const Row& row, C max, const C (&s)[sums]) const {
    if (call.losses)
      call.losses[r] = narrow<T>(loss(row, max, s));
    else if (call.losses_to_sum)
      call.losses_to_sum[r] = loss(row, max, s);
  }

  __device__ C loss(const Row& row, C max, const C (&s)[sums]) const {
    using std::log1p;
    if (row.y == Call::ignored) return 0;
    const C log = valid(max, row) ? log1p(s[rest] + (s[equals] - 1)) : std::numeric_limits<C>::quiet_NaN();
    if (log != log) return log;  // NaN logits give NaN for every target
    const C own = times(own_coefficient(row), (max - row.own) + log);
    if constexpr (dense)
      return own + times(call.unit(), s[distance] + (s[share] + s[top_share]) * log);
    else if constexpr (smoothed)
      return own +
             times(call.smoothing, s[distance] + static_cast<C>(call.classes) * ((max - origin(row)) + log));
    else
      return own;
  }

 private:
  template<bool divergent, int n>
  __device__ __forceinline__ void add_elements(C (&v)[1][n], C m, C (&s)[sums], const Row& row,
                                               std::int64_t column) const {
    if constexpr (dense || smoothed)
      if (static_cast<unsigned>(column) < static_cast<unsigned>(call.classes)) {
        C sum = 0;
#pragma unroll
        for (int j = 0; j < n; ++j) {
          if constexpr (dense) {
            const C t = call.coefficient(row.r, column + j);
            const bool top = v[0][j] == m;
            sum += top ? C(0) : times(t, m - v[0][j]);
            s[share] += top ? C(0) : t;
            s[top_share] += top ? t : C(0);
          } else {
            sum += origin(row) - v[0][j];
          }
        }
        s[distance] += sum;
      }

    const C shift = m == -infinity<C>() ? C(0) : m;
    constexpr int part = n < 4 ? n : 4;
#pragma unroll
    for (int i = 0; i < n; i += part) {
      C e[part], copy[part];
#pragma unroll
      for (int j = 0; j < part; ++j) {
        copy[j] = e[j] = exp_minus<T>(v[0][i + j], shift);
        if constexpr (caches) v[0][i + j] = e[j];
      }
      // Most parts do not contain the maximum, and their sum is below 1. If the lanes of a warp hold
      // different rows, one lane nearly always has a maximum, so this shortcut would only add a branch.
      if (const C sum = divergent ? C(1) : sum_of(copy); sum < 1) {
        s[rest] += sum;
      } else {
#pragma unroll
        for (int j = 0; j < part; ++j) {
          e[j] >= 1 ? s[equals] += 1 : s[rest] += e[j];
          if constexpr (caches) v[0][i + j] = larger(e[j], C(0));  // not NaN; the sum is NaN already
        }
      }
    }
  }

  // a b, but 0 where a is 0: a class of weight 0 adds no loss, even if its logit is infinite.
  static __device__ __forceinline__ C times(C a, C b) { return a == 0 ? C(0) : a * b; }

  // The origin of `distance`: the logit of the row's class, or 0 if that is not finite.
  static __device__ __forceinline__ C origin(const Row& row) {
    return row.own - row.own == 0 ? row.own : C(0);
  }

  // The term of t at the row's own class that comes from the index.
  __device__ C own_coefficient(const Row& row) const {
    return row.y < Call::none ? call.weight_of(row.y) * call.confidence : C(0);
  }

  // Loss and gradient of a row are NaN if it contains +inf, or only -inf, or its class is out of range.
  static __device__ bool valid(C max, const Row& row) { return max - max == 0 && row.y != Call::outside; }
};

/// Enqueues the row engine for a call whose targets are not dense. The gradient goes to the output of the
/// operands, if there is one. Defined in cross_entropy_index_targets.cu and
/// cross_entropy_smoothed_targets.cu.
template<class T, TargetKind kind>
void run_cross_entropy(std::string_view op, const RowOperands&, const CrossEntropyCall<T>&, bool early);

}  // namespace bobbin::cuda
