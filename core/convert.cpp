// Conversions of contiguous arrays between dtypes, and copies between strides. Each common pair of dtypes has
// a loop. Any other pair uses two of these loops, through a dtype that holds every element of the first one
// exactly. So each pair gives the same results as `cast`.
#include "core/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/cast.h"

namespace bobbin {
namespace {

template<class From, class To>
void convert_all(const void* source, void* target, std::int64_t n) {
  const From* __restrict x = static_cast<const From*>(source);
  To* __restrict y = static_cast<To*>(target);
  for (std::int64_t i = 0; i < n; ++i) y[i] = cast<To>(x[i]);
}

using Loop = void (*)(const void* source, void* target, std::int64_t n);

template<class From, class... To>
Loop loop_from(DType to) {
  Loop found = nullptr;
  ((to == dtype_of<To>() ? void(found = convert_all<From, To>) : void()), ...);
  return found;
}

// The loop of a pair of dtypes; null if it has none. A bool is stored as the u8 0 or 1.
Loop loop_of(DType from, DType to) {
  switch (from) {
    case DType::f64:
      return loop_from<double, float, BFloat16, Half, std::int64_t, std::int32_t, std::uint8_t, bool>(to);
    case DType::f32:
      return loop_from<float, double, BFloat16, Half, std::int64_t, std::int32_t, std::uint8_t, bool>(to);
    case DType::bf16:
      return loop_from<BFloat16, float>(to);
    case DType::f16:
      return loop_from<Half, float>(to);
    case DType::i64:
      return loop_from<std::int64_t, double, float, BFloat16, Half, std::int32_t, std::uint8_t, bool>(to);
    case DType::i32:
      return loop_from<std::int32_t, double, float, std::int64_t, std::uint8_t, bool>(to);
    default:
      return loop_from<std::uint8_t, float, std::int32_t>(to);
  }
}

// The dtype in between, for a pair that has no loop.
DType between(DType from, DType to) {
  const bool small = from == DType::u8 || from == DType::boolean;
  if (from == DType::i32) return DType::f64;
  return small && !is_floating(to) ? DType::i32 : DType::f32;
}

void convert_contiguous(DType from, const void* source, DType to, void* target, std::int64_t n) {
  if (from == to || (from == DType::boolean && to == DType::u8)) {
    std::memcpy(target, source, static_cast<std::size_t>(n * size_of(to)));
  } else if (const Loop loop = loop_of(from, to)) {
    loop(source, target, n);
  } else {
    const DType middle = between(from, to);
    const Loop first = loop_of(from, middle), second = loop_of(middle, to);
    alignas(64) char scratch[block_size * 8];
    for (std::int64_t i = 0; i < n; i += block_size) {
      const std::int64_t count = std::min(block_size, n - i);
      first(static_cast<const char*>(source) + i * size_of(from), scratch, count);
      second(scratch, static_cast<char*>(target) + i * size_of(to), count);
    }
  }
}

}  // namespace

bool in_range(DType d, double x) {
  if (is_floating(d)) return true;
  const double whole = std::trunc(x);
  switch (d) {
    case DType::i64:
      return whole >= -0x1p63 && whole < 0x1p63;
    case DType::i32:
      return whole >= -0x1p31 && whole < 0x1p31;
    case DType::u8:
      return whole >= 0 && whole <= 255;
    default:
      return whole >= 0 && whole <= 1;
  }
}

bool can_hold(DType d, double x) { return is_floating(d) || (in_range(d, x) && x == std::trunc(x)); }

void gather(std::int64_t size, const void* source, std::int64_t stride, void* target, std::int64_t n) {
  if (n == 0) return;
  if (stride == 1) {
    std::memcpy(target, source, static_cast<std::size_t>(n * size));
    return;
  }
  visit_word(size, [&]<class Word>(Word) {
    const Word* __restrict x = static_cast<const Word*>(source);
    Word* __restrict y = static_cast<Word*>(target);
    if (stride == 0)
      std::fill(y, y + n, *x);
    else
      for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
  });
}

void scatter(std::int64_t size, const void* source, void* target, std::int64_t stride, std::int64_t n) {
  if (stride == 1) {
    std::memcpy(target, source, static_cast<std::size_t>(n * size));
    return;
  }
  visit_word(size, [&]<class Word>(Word) {
    const Word* __restrict x = static_cast<const Word*>(source);
    Word* __restrict y = static_cast<Word*>(target);
    for (std::int64_t i = 0; i < n; ++i) y[i * stride] = x[i];
  });
}

void convert(DType from, const void* source, std::int64_t stride, DType to, void* target, std::int64_t n) {
  if (n == 0) return;
  if (stride == 1) return convert_contiguous(from, source, to, target, n);
  if (from == to) return gather(size_of(from), source, stride, target, n);
  alignas(64) char scratch[block_size * 8];
  for (std::int64_t i = 0; i < n; i += block_size) {
    const std::int64_t count = std::min(block_size, n - i);
    gather(size_of(from), static_cast<const char*>(source) + i * stride * size_of(from), stride, scratch,
           count);
    convert_contiguous(from, scratch, to, static_cast<char*>(target) + i * size_of(to), count);
  }
}

}  // namespace bobbin
