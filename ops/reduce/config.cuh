// ReduceConfig: the dimensions of a reduction on a GPU, and how many threads and segments share its work.
#pragma once
#include <algorithm>
#include <bit>

#include "core/ceil_div.h"
#include "core/cuda/strided.cuh"
#include "ops/reduce/axis_order.h"

namespace bobbin::reduction {

inline constexpr int vector_size = 4;    // accumulators of a thread, and elements of a vector load
inline constexpr int unroll = 4;         // vectors that a thread loads at the same time
inline constexpr int max_threads = 512;  // of a block

/// Dimensions with their strides in x and in the results; there is at least one.
struct Dimensions : CollapsedDims<2> {
  cuda::Divider divide[max_rank];  // by sizes below 2^31, except the outermost

  explicit Dimensions(const CollapsedDims<2>& collapsed = {}) : CollapsedDims(collapsed) {
    if (rank == 0) size[rank++] = 1;
    for (int d = 0; d + 1 < rank; ++d)
      if (size[d] >> 31 == 0) divide[d] = cuda::Divider(static_cast<std::uint32_t>(size[d]));
  }
  constexpr std::int64_t x(int d) const { return stride[0][d]; }
  constexpr std::int64_t y(int d) const { return stride[1][d]; }

  /// Makes n the size of the outermost dimension.
  void resize(std::int64_t n) {
    size[rank - 1] = n;
    if (n == 1 && rank > 1) --rank;
  }
};

/// A group of threads reduces one result, or one segment of a long one. In an inner reduction the reduced
/// elements are nearest in memory, and a group is consecutive threads. In an outer reduction, elements of
/// neighbouring results are nearest in memory: `step` consecutive threads reduce `step` neighbouring results,
/// and the threads of one group are `step` apart.
class ReduceConfig {
 public:
  /// For x reduced over `axes` (normalised), in row-major order of those axes or in the order of memory.
  ReduceConfig(const Tensor& x, const Axes& axes, bool in_order, int sms) {
    const bool outer = find_dimensions(x, axes, in_order);
    if (results == 0) return;
    const std::int64_t enough = std::int64_t{1024} * sms;  // threads that saturate the memory
    if (outer)
      configure_outer(size_of(x.dtype()), enough / results);
    else
      configure_inner(enough / results);
    vectorized = !outer && can_vectorize(x);
    // The second launch that segments need costs as much as some hundred elements per thread.
    if (results * group < enough && length / group > 64)
      segments = std::max<std::int64_t>(
          1, std::min(enough / (results * group), length / (group * vector_size * unroll)));
  }

  unsigned blocks() const { return static_cast<unsigned>(ceil_div(results, threads / group)); }

  Dimensions kept, reduced;
  std::int64_t results = 1, length = 1;   // the number of results; the elements that each is reduced from
  std::int64_t segments = 1;              // of a result
  int group = 1, step = 1, threads = 32;  // threads of a group; distance between them; threads of a block.
                                          // All are powers of two
  bool vectorized = false;                // threads load vectors

 private:
  // The smallest power of two >= the number, in [1, max_threads].
  static int power(std::int64_t at_least) {
    return static_cast<int>(
        std::bit_ceil(static_cast<unsigned>(std::clamp<std::int64_t>(at_least, 1, max_threads))));
  }
  // The largest power of two <= the number, in [1, max_threads].
  static int power_within(std::int64_t at_most) {
    return static_cast<int>(
        std::bit_floor(static_cast<unsigned>(std::clamp<std::int64_t>(at_most, 1, max_threads))));
  }

  // Fills in the dimensions and their products. Returns whether the reduction is an outer one.
  bool find_dimensions(const Tensor& x, const Axes& axes, bool in_order) {
    const auto size = [&](std::int64_t i) { return x.shape()[static_cast<int>(i)]; };
    const auto stride = [&](std::int64_t i) { return x.strides()[static_cast<int>(i)]; };
    const AxisOrder order(x, axes, in_order);
    Strides y_strides = Strides::filled(x.rank(), 0);
    for (int i = x.rank() - 1; i >= 0; --i) {
      if (!axes.contains(i)) y_strides[i] = results;
      (axes.contains(i) ? length : results) *= size(i);
    }
    if (results == 0) return false;

    const auto collapsed = [&](const Axes& some) {
      CollapsedDims<2> dims;
      for (int k = some.size() - 1; k >= 0; --k)
        dims.append(size(some[k]), {stride(some[k]), y_strides[static_cast<int>(some[k])]});
      return Dimensions(dims);
    };
    kept = collapsed(order.kept);
    if (length == 0) return false;
    reduced = collapsed(order.reduced);
    return kept.x(0) != 0 && kept.x(0) < (reduced.x(0) == 0 ? AxisOrder::far : reduced.x(0));
  }

  // `enough` threads per result saturate the memory. A thread reduces 8 elements or more.
  void configure_inner(std::int64_t enough) {
    const int low = std::min(32, power(ceil_div(length, 8)));
    const int high = std::max(low, power(ceil_div(length, vector_size * unroll)));
    group = std::clamp(power_within(enough), low, high);
    threads =
        std::max(group, std::clamp(power(std::min<std::int64_t>(results, max_threads) * group), 32, 256));
  }

  // Threads read rows of neighbouring results, of 64 bytes or more each.
  void configure_outer(std::int64_t item, std::int64_t enough) {
    const int width = std::min(power(kept.size[0]), static_cast<int>(std::max<std::int64_t>(16, 64 / item)));
    const int high = std::min(max_threads / width, power(ceil_div(length, vector_size * unroll)));
    const int low = std::min(high, power(ceil_div(length, 128)));
    group = std::clamp(power_within(enough), low, high);
    step = std::max({std::min(std::max(width, 256 / group), power(results)), 32 / group, 1});
    threads = group * step;
  }

  // Whether threads may load vectors. Where the elements of a result are contiguous and many, they may begin
  // anywhere: the elements before the first aligned vector and after the last are read one by one.
  bool can_vectorize(const Tensor& x) const {
    if (reduced.x(0) != 1) return false;
    if (reduced.rank == 1 && length >= 128) return true;
    const auto bytes = static_cast<std::uintptr_t>(vector_size * size_of(x.dtype()));
    bool aligned =
        reinterpret_cast<std::uintptr_t>(x.raw()) % bytes == 0 && reduced.size[0] % vector_size == 0;
    for (int d = 1; d < reduced.rank; ++d) aligned = aligned && reduced.x(d) % vector_size == 0;
    for (int d = 0; d < kept.rank; ++d) aligned = aligned && kept.x(d) % vector_size == 0;
    return aligned;
  }
};

}  // namespace bobbin::reduction
