// Sums, differences and products whose integers wrap around, as PyTorch's and NumPy's do: in unsigned
// arithmetic, as an overflow of signed numbers has no meaning in C++.
#pragma once
#include <limits>
#include <type_traits>

#include "core/cast.h"

namespace bobbin::fn {

// The unsigned type that an integer T is computed in; a small one would be promoted to a signed int.
template<class T>
using Unsigned = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

#define BOBBIN_WRAPPED(name, op)                                                         \
  template<class T>                                                                      \
  BOBBIN_HD T name(T a, T b) {                                                           \
    if constexpr (std::is_integral_v<T>)                                                 \
      return static_cast<T>(static_cast<Unsigned<T>>(a) op static_cast<Unsigned<T>>(b)); \
    else                                                                                 \
      return T(a op b);                                                                  \
  }
BOBBIN_WRAPPED(wrapped_sum, +)
BOBBIN_WRAPPED(wrapped_difference, -)
BOBBIN_WRAPPED(wrapped_product, *)
#undef BOBBIN_WRAPPED

/// -x; of the least integer, itself.
template<class T>
BOBBIN_HD T wrapped_negative(T x) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(Unsigned<T>{0} - static_cast<Unsigned<T>>(x));
  else
    return T(-x);
}

/// A number as T; one beyond an integer T becomes its nearest end.
template<class T>
BOBBIN_HD T saturated(double x) {
  if constexpr (std::is_integral_v<T>)
    return cast<T>(x);
  else
    return T(x);
}

}  // namespace bobbin::fn
