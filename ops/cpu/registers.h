// SIMD registers, and sums of products held in them: the innermost loop of the CPU's convolutions and matrix
// products.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/ceil_div.h"

namespace bobbin::simd {

#if defined(__AVX512F__)
inline constexpr int register_bytes = 64;
#elif defined(__AVX__)
inline constexpr int register_bytes = 32;
#else
inline constexpr int register_bytes = 16;
#endif

// clang 14 forgets the alignment that an alias template has, so there a register in memory is copied.
#ifdef __clang__
#define BOBBIN_IN_MEMORY
#else
#define BOBBIN_IN_MEMORY , aligned(alignof(T)), may_alias
#endif
/// The contents of one register. load_register and store_register take any address of a T.
template<class T>
using Register __attribute__((vector_size(register_bytes) BOBBIN_IN_MEMORY)) = T;
#undef BOBBIN_IN_MEMORY
template<class T>
[[gnu::always_inline]] inline Register<T> load_register(const T* x) {
#ifdef __clang__
  Register<T> r;
  std::memcpy(&r, x, sizeof r);
  return r;
#else
  return *reinterpret_cast<const Register<T>*>(x);
#endif
}
template<class T, class R>
[[gnu::always_inline]] inline void store_register(T* x, const R& r) {
#ifdef __clang__
  std::memcpy(x, &r, sizeof r);
#else
  *reinterpret_cast<Register<T>*>(x) = r;
#endif
}
/// The number of lanes, which hold an element each.
template<class T>
inline constexpr std::int64_t register_lanes = register_bytes / static_cast<std::int64_t>(sizeof(T));

/// y[i] = f(x[i]...) for n elements; y overlaps no x. f takes registers, and single elements where n is less
/// than a register holds.
template<class T, class F, class... X>
void map_row(std::int64_t n, T* y, F f, const X*... x) {
  constexpr std::int64_t lanes = register_lanes<T>;
  const auto map = [=](std::int64_t i) { store_register(y + i, f(load_register(x + i)...)); };
  if (n < lanes) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(x[i]...);
    return;
  }
#pragma GCC unroll 2
  for (std::int64_t i = 0; i + lanes < n; i += lanes) map(i);
  map(n - lanes);
}

/// Prefetches n elements that lie 2 KB after x, for a loop that reads (or writes) memory in order. The
/// hardware prefetcher stops at the end of each page.
template<bool write = false, class T>
void prefetch_ahead(const T* x, std::int64_t n) {
  constexpr std::int64_t cache_line = 64 / sizeof(T), ahead = 2048 / sizeof(T);
  for (std::int64_t i = 0; i < n; i += cache_line) __builtin_prefetch(x + ahead + i, write);
}

/// y = x for n elements that do not overlap. For small n this is faster than a call of memcpy.
template<class T>
void copy_row(const T* x, std::int64_t n, T* y) {
  map_row(
      n, y, [](auto v) { return v; }, x);
}

/// The block of sums that sum_products holds: rows, and registers of each row. Together with one factor and
/// sum_registers operands it fills the 16 registers of AVX2, and most of the 32 of AVX-512.
inline constexpr bool many_registers = register_bytes == 64;
inline constexpr int sum_rows = many_registers ? 8 : 4, sum_registers = 3;

/// The operands of a block of sums: y[i][j] = the sum over k < count of factors[k * step + i * apart] times
/// the register at row(k) + j * gap. Step and Apart are integers or Constants.
template<class T, class Step, class Apart, class Row>
struct Terms {
  std::int64_t count;
  const T* factors;
  Step step;
  Apart apart;
  Row row;
  std::int64_t gap;
};
template<class T, class Step, class Apart, class Row>  // clang 14 deduces none for an aggregate
Terms(std::int64_t, const T*, Step, Apart, Row, std::int64_t)->Terms<T, Step, Apart, Row>;
template<std::int64_t n>
using Constant = std::integral_constant<std::int64_t, n>;

namespace detail {

template<int rows, int registers, class T, class... Steps>
void sum_products(const Terms<T, Steps...>& terms, T* y, std::int64_t pitch, bool add, std::int64_t gap) {
  using R = Register<T>;
  R sum[rows][registers] = {};
  const T* factor = terms.factors;
  for (std::int64_t k = 0; k < terms.count; ++k, factor += terms.step) {
    const T* const from = terms.row(k);
    R x[registers];
    for (int j = 0; j < registers; ++j) x[j] = load_register(from + j * terms.gap);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < registers; ++j) sum[i][j] += factor[i * terms.apart] * x[j];
  }
  const auto to = [&](int i, int j) { return y + i * pitch + j * gap; };
  // These loops are unrolled as well: GCC would otherwise keep `sum` in memory.
  if (add)
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < registers; ++j) sum[i][j] += load_register(to(i, j));
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < registers; ++j) store_register(to(i, j), sum[i][j]);
}

}  // namespace detail

/// Writes the sums to y, or adds them to it: 1 to sum_rows rows, `pitch` elements apart, of 1 to
/// sum_registers registers, `gap` elements apart.
template<class T, class... Steps>
void sum_products(int rows, int registers, const Terms<T, Steps...>& terms, T* y, std::int64_t pitch,
                  bool add = false, std::int64_t gap = register_lanes<T>) {
  constexpr auto kernels = []<std::size_t... i>(std::index_sequence<i...>) {
    return std::array{&detail::sum_products<i / sum_registers + 1, i % sum_registers + 1, T, Steps...>...};
  }
  (std::make_index_sequence<sum_rows * sum_registers>());
  kernels[static_cast<std::size_t>((rows - 1) * sum_registers + registers - 1)](terms, y, pitch, add, gap);
}

/// Part i of a row of `all` registers that is divided into `parts` of at most sum_registers. The sizes of the
/// parts differ by one register at most, since a part of one register has too few independent sums to hide
/// the latency of the additions.
struct RegisterPart {
  std::int64_t first;
  int count;
  static std::int64_t fewest(std::int64_t all) { return ceil_div(all, sum_registers); }
  RegisterPart(std::int64_t all, std::int64_t parts, std::int64_t i)
      : first(all * i / parts), count(static_cast<int>(all * (i + 1) / parts - first)) {}
};

}  // namespace bobbin::simd
