// The sums of softmax's derivative for a row in which one probability dominates, on the CPU.
#pragma once
#include <cstdint>

#include "ops/cpu/softmax_rows.h"
#include "ops/softmax/softmax.h"

namespace bobbin::rows {

template<class T>
bool is_dominant(T o) {
  return o > T(dominant_probability);
}

/// dx = o ((g - c) - rest): c is the g of the dominant element, and rest the sum of o (g - c) over the
/// others. Without a dominant element, c is 0 and rest the sum of o g.
template<class T>
struct RowSums {
  T c, rest;
};

/// The sums of a row that has a dominant element.
template<class T>
RowSums<T> dominated_sums(const T* o, const T* g, std::int64_t n) {
  const T c = static_cast<T>(sum<T>(n, [=](std::int64_t i) { return is_dominant(o[i]) ? g[i] : T(0); }));
  return {c, static_cast<T>(sum<T>(n, [=](std::int64_t i) {
            const T p = is_dominant(o[i]) ? T(0) : o[i];
            return p * (g[i] - c);
          }))};
}

}  // namespace bobbin::rows
