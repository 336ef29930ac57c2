// Panels of the factors of attention's products.
#include "ops/attention/cpu_blocks.h"

#include "ops/cpu/vectors.h"

namespace bobbin::attention {
namespace {

// Columns [j, j + n) of a transposed matrix: column j is contiguous, and columns are `along` elements apart.
template<class T>
void transpose(const T* from, std::int64_t n, std::int64_t along, std::int64_t rows, T scale, T* to,
               std::int64_t width) {
  constexpr std::int64_t size = register_lanes<T>;
  std::int64_t i = 0;
  for (; i + size <= rows; i += size) {
    simd::Register<T> square[size];
    for (std::int64_t j = 0; j < size; ++j)
      square[j] = j < n ? simd::load_register(from + j * along + i) * scale : simd::Register<T>{};
    simd::transpose(square);
    for (std::int64_t j = 0; j < size; ++j) simd::store_register(to + (i + j) * width, square[j]);
  }
  for (; i < rows; ++i)
    for (std::int64_t j = 0; j < size; ++j) to[i * width + j] = j < n ? from[j * along + i] * scale : T(0);
}

}  // namespace

template<class T>
Factor<T> pack(const T* from, std::int64_t rows, std::int64_t columns, std::int64_t down, std::int64_t along,
               T scale, T* to) {
  constexpr std::int64_t size = register_lanes<T>;
  const Factor<T> out{to, rows, padded<T>(columns)};
  const std::int64_t registers = out.columns / size, parts = simd::RegisterPart::fewest(registers);
  for (std::int64_t p = 0; p < parts; ++p) {
    const simd::RegisterPart part(registers, parts, p);
    const std::int64_t width = part.count * size, column = part.first * size;
    if (along == 1)
      for (std::int64_t i = 0; i < rows; ++i, to += width) {
        const T* const row = from + i * down + column;
        const std::int64_t n = std::clamp<std::int64_t>(columns - column, 0, width);
        for (std::int64_t j = 0; j < n; ++j) to[j] = row[j] * scale;
        std::fill(to + n, to + width, T(0));
      }
    else {
      for (std::int64_t j = 0; j < width; j += size)
        transpose(from + (column + j) * along, std::clamp<std::int64_t>(columns - column - j, 0, size), along,
                  rows, scale, to + j, width);
      to += rows * width;
    }
  }
  return out;
}

template Factor<float> pack(const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, float,
                            float*);
template Factor<double> pack(const double*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, double,
                             double*);

}  // namespace bobbin::attention
