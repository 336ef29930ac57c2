// Conversion of the elements of files: byte order, integers that Bobbin does not hold, bools.
#include "autograd/saving/elements.h"

#include <bobbin/error.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace bobbin {
namespace {

// One unsigned integer of 1 to 8 bytes.
std::uint64_t bits(const ElementType& type, const char* at) {
  std::uint64_t v = 0;
  for (int i = 0; i < type.size; ++i) {
    const int place = type.swapped ? type.size - 1 - i : i;
    v |= std::uint64_t{static_cast<unsigned char>(at[i])} << 8 * place;
  }
  return v;
}

// Its value as a signed number.
std::int64_t value(const ElementType& type, std::uint64_t v) {
  const int unused = 64 - 8 * type.size;
  return type.kind == 'i' ? static_cast<std::int64_t>(v << unused) >> unused : static_cast<std::int64_t>(v);
}

}  // namespace

std::optional<DType> dtype_for(const ElementType& t, const ReadOptions& options) {
  if (t.kind == 'f' && t.size == 8) return DType::f64;
  if (t.kind == 'f' && t.size == 4) return DType::f32;
  if (t.kind == 'f' && t.size == 2) return DType::f16;
  if (t.kind == 'g' && t.size == 2) return DType::bf16;
  if (t.kind == 'i' && t.size == 8) return DType::i64;
  if (t.kind == 'i' && t.size == 4) return DType::i32;
  if (t.kind == 'u' && t.size == 1) return DType::u8;
  if (t.kind == 'b' && t.size == 1) return DType::boolean;
  if (!options.convert || (t.kind != 'i' && t.kind != 'u')) return {};
  if (t.size <= 2) return DType::i32;
  if (t.size == 4 || t.size == 8) return DType::i64;
  return {};
}

bool same_bytes(const ElementType& t, DType dtype) {
  const bool integer = dtype == DType::i64 || dtype == DType::i32;
  return !(t.swapped && t.size > 1) && t.size == size_of(dtype) && !(integer && t.kind == 'u');
}

void take_elements(const std::string& where, const ElementType& type, const char* from, std::size_t n,
                   DType dtype, char* to, const ReadOptions& options) {
  if (same_bytes(type, dtype)) {
    const bool narrow = dtype == DType::boolean;
    if (narrow && options.convert)
      std::transform(from, from + n, to, [](char b) { return static_cast<char>(b != 0); });
    else if (from != to && n > 0)
      std::memcpy(to, from, n * static_cast<std::size_t>(type.size));
    if (narrow && !options.convert && std::any_of(from, from + n, [](char b) { return (b & ~1) != 0; }))
      fail<FormatError>(where,
                        " holds a bool that is neither 0 nor 1; ReadOptions::convert reads it as true");
    return;
  }
  const auto size = static_cast<std::size_t>(size_of(dtype));
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t v = bits(type, from + i * static_cast<std::size_t>(type.size));
    if (type.kind == 'u' && v > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail<FormatError>(where, " holds ", v, ", which is no value of i64");
    // Little-endian, like the machines that Bobbin runs on: the first bytes are the low ones.
    const std::uint64_t out = type.kind == 'i' ? static_cast<std::uint64_t>(value(type, v)) : v;
    std::memcpy(to + i * size, &out, size);
  }
}

}  // namespace bobbin
