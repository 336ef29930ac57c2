// multiply_long: divides a product along its inner size.
#include "ops/matmul/long_product.h"

#include <algorithm>
#include <array>

#include "core/ceil_div.h"
#include "ops/reduce/reduce.h"

namespace bobbin::cuda {
namespace {

constexpr std::int64_t most_sums = 1 << 26;   // f32 numbers that all parts may have together
constexpr std::int64_t most_parts = 1 << 15;  // of one batch

}  // namespace

bool is_long_product(DType dtype, bool tf32, std::int64_t inner) {
  if (dtype == DType::f64) return false;
  return inner > (dtype == DType::f32 && !tf32 ? 1 << 16 : 1 << 18);
}

void multiply_long(std::string_view op, const Gemm& p, Tensor y) {
  // The sums of all parts are written and read once. That takes little time beside products of this length,
  // or, for a product with a vector or a thin matrix, beside reading the operands.
  const bool exact = p.dtype == DType::f32 && !p.tf32, thin = std::min(p.rows, p.cols) <= 16;
  const std::int64_t wanted = !exact ? 1 << 16
                              : thin ? 1 << 10
                                     : 1 << 12,
                     parts_that_fit = std::clamp<std::int64_t>(most_sums / (p.rows * p.cols), 1, most_parts),
                     length = ceil_div(std::max(wanted, ceil_div(p.inner, parts_that_fit)), 64) * 64;
  const std::int64_t whole = p.inner / length, rest = p.inner % length;
  Tensor sums = empty({whole + (rest > 0 ? 1 : 0), p.rows * p.cols}, DType::f32, y.device());
  Gemm part = p;
  part.y_dtype = DType::f32;
  part.y_stride = p.cols;
  part.y_next = p.rows * p.cols;
  part.a.next = p.a.transposed ? length * p.a.stride : length;
  part.b.next = p.b.transposed ? length : length * p.b.stride;
  const auto run = [&](std::int64_t first, std::int64_t count, std::int64_t inner) {
    if (count == 0) return;
    const auto from = [&](const Operand& x) {
      return static_cast<const char*>(x.data) + first * x.next * size_of(p.dtype);
    };
    Gemm now = part;
    now.a.data = from(part.a);
    now.b.data = from(part.b);
    now.y = sums.raw<float>() + first * part.y_next;
    now.inner = inner;
    now.batch = count;
    if (count == 1) now.a.next = now.b.next = now.y_next = 0;
    multiply(op, y.device(), now);
  };
  run(0, whole, length);
  run(whole, rest > 0 ? 1 : 0, rest);
  Sum{{Axes{0}}}.cuda(std::array{sums}, y);
}

}  // namespace bobbin::cuda
