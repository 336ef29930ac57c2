// How the work of a reduction is shared out on a GPU: which dimensions, which threads, how many parts.
#pragma once
#include <algorithm>
#include <bit>
#include <limits>

#include "core/ceil_div.h"
#include "core/cuda/strided.cuh"

namespace bobbin::reduction {

inline constexpr int lanes = 4;   // that a thread folds side by side
inline constexpr int rounds = 4;  // of loads that are in flight at a time
inline constexpr int most = 512;  // threads of a block

/// Dimensions and their strides in x and in the results, neighbours merged where both allow; the innermost
/// comes first, and there is at least one.
struct Grid {
  int rank = 1;
  std::int64_t size[max_rank] = {1}, x[max_rank] = {}, y[max_rank] = {};
  cuda::Divider divide[max_rank];  // by sizes below 2^31

  /// Adds a dimension outside the others.
  void append(std::int64_t n, std::int64_t in_x, std::int64_t in_y) {
    int last = rank - 1;
    if (n == 1) return;
    if (size[last] != 1 && in_x == size[last] * x[last] && in_y == size[last] * y[last]) {
      n *= size[last];
    } else {
      if (size[last] != 1) last = rank++;
      x[last] = in_x, y[last] = in_y;
    }
    resize(n);
  }
  /// Makes the outermost dimension n long.
  void resize(std::int64_t n) {
    size[rank - 1] = n;
    if (n >> 31 == 0) divide[rank - 1] = cuda::Divider(static_cast<std::uint32_t>(n));
    if (n == 1 && rank > 1) --rank;
  }
};

/// A team of threads folds one result, or a part of one. Along: its members are neighbours, as the elements
/// are. Down: `step` neighbours fold neighbouring results, and the members of a team lie that far apart.
class Plan {
 public:
  /// Of x reduced over `axes` (normalised): in row-major order of those axes, or as the elements lie in
  /// memory.
  Plan(const Tensor& x, const Axes& axes, bool in_order, int sms) {
    const bool down = find_dimensions(x, axes, in_order);
    if (results == 0) return;
    const std::int64_t enough = std::int64_t{1024} * sms;  // threads that keep the memory busy
    if (down)
      share_down(size_of(x.dtype()), enough / results);
    else
      share_along(enough / results);
    packed = !down && has_packs(x);
    // A second launch costs as much as some hundred elements of a thread.
    if (results * team < enough && length / team > 64)
      parts =
          std::max<std::int64_t>(1, std::min(enough / (results * team), length / (team * lanes * rounds)));
  }

  unsigned blocks() const { return static_cast<unsigned>(ceil_div(results, threads / team)); }

  Grid kept, reduced;
  std::int64_t results = 1, length = 1;  // elements of a result
  std::int64_t parts = 1;                // of a result
  int team = 1, step = 1, threads = 32;  // powers of two
  bool packed = false;                   // elements are read `lanes` at a time

 private:
  // Powers of two, for numbers that may be large where a small one is wanted.
  static int power(std::int64_t at_least) {
    return static_cast<int>(
        std::bit_ceil(static_cast<unsigned>(std::clamp<std::int64_t>(at_least, 1, most))));
  }
  static int power_within(std::int64_t at_most) {
    return static_cast<int>(
        std::bit_floor(static_cast<unsigned>(std::clamp<std::int64_t>(at_most, 1, most))));
  }

  // Whether to read down.
  bool find_dimensions(const Tensor& x, const Axes& axes, bool in_order) {
    constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();
    const auto size = [&](std::int64_t i) { return x.shape()[static_cast<int>(i)]; };
    const auto stride = [&](std::int64_t i) { return x.strides()[static_cast<int>(i)]; };
    const auto distance = [&](std::int64_t i) {  // repeated elements lie nowhere near
      return size(i) == 1 || stride(i) == 0 ? far : stride(i);
    };
    const auto nearest_last = [&](Axes& some) {
      for (int i = 1; i < some.size(); ++i)
        for (int j = i; j > 0 && distance(some[j - 1]) < distance(some[j]); --j)
          std::swap(some[j - 1], some[j]);
    };

    Axes keep, reduce;
    Strides place = Strides::filled(x.rank(), 0);  // of kept axes, in the results
    for (int i = 0; i < x.rank(); ++i) (axes.contains(i) ? reduce : keep).push_back(i);
    for (int k = keep.size() - 1; k >= 0; --k) {
      place[static_cast<int>(keep[k])] = results;
      results *= size(keep[k]);
    }
    for (auto i : reduce) length *= size(i);
    if (results == 0) return false;

    nearest_last(keep);
    for (int k = keep.size() - 1; k >= 0; --k)
      kept.append(size(keep[k]), stride(keep[k]), place[static_cast<int>(keep[k])]);
    if (length == 0) return false;
    if (!in_order) nearest_last(reduce);
    for (int k = reduce.size() - 1; k >= 0; --k) reduced.append(size(reduce[k]), stride(reduce[k]), 0);
    return kept.x[0] != 0 && kept.x[0] < (reduced.x[0] == 0 ? far : reduced.x[0]);
  }

  // Teams that read pieces of rows, and of which `enough` members a result would be enough.
  void share_along(std::int64_t enough) {
    const int low = std::min(32, power(ceil_div(length, 8)));
    const int high = std::max(low, power(ceil_div(length, lanes * rounds)));
    team = std::clamp(power_within(enough), low, high);
    threads = std::max(team, std::clamp(power(std::min<std::int64_t>(results, most) * team), 32, 256));
  }

  // Rows of neighbouring results, of 64 bytes or more.
  void share_down(std::int64_t item, std::int64_t enough) {
    const int width = std::min(power(kept.size[0]), static_cast<int>(std::max<std::int64_t>(16, 64 / item)));
    const int high = std::min(most / width, power(ceil_div(length, lanes * rounds)));
    const int low = std::min(high, power(ceil_div(length, 128)));
    team = std::clamp(power_within(enough), low, high);
    step = std::max({std::min(std::max(width, 256 / team), power(results)), 32 / team, 1});
    threads = team * step;
  }

  // Rows may begin anywhere where they are long enough for their edges to be read one by one.
  bool has_packs(const Tensor& x) const {
    if (reduced.x[0] != 1) return false;
    if (reduced.rank == 1 && length >= 128) return true;
    const auto bytes = static_cast<std::uintptr_t>(lanes * size_of(x.dtype()));
    bool aligned = reinterpret_cast<std::uintptr_t>(x.raw()) % bytes == 0 && reduced.size[0] % lanes == 0;
    for (int d = 1; d < reduced.rank; ++d) aligned = aligned && reduced.x[d] % lanes == 0;
    for (int d = 0; d < kept.rank; ++d) aligned = aligned && kept.x[d] % lanes == 0;
    return aligned;
  }
};

}  // namespace bobbin::reduction
