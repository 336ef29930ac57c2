// Softmax of a block of rows on the CPU. The passes over a row run beside those over its neighbours, a step
// of each in turn: what waits for memory goes on while another computes. What happens to a row depends on it
// alone.
#pragma once
#include "ops/cpu/rows.h"
#include "ops/cpu/softmax_rows.h"
#include "ops/cpu/vectors.h"

namespace bobbin::rows {

/// y = exp(x - max) / sum(exp(x - max)). While a chunk's exponentials are summed, the next chunk's maximum is
/// found and the row before is divided by its sum.
template<class T>
void softmax(const RowBlock& block, std::int64_t n) {
  struct Scaled {
    const T* e;
    T scale;
    Vector<T> operator()(std::int64_t i, std::int64_t k) const {
      return read(e + i, k) * Vector<T>::all(scale);
    }
  };
  using Out = Writer<T, Scaled>;
  // Where exponentials wait: what is large is written once, past the caches.
  const Storage rooms(block.large ? 2 * static_cast<std::size_t>(block.row_bytes) : 0, Device());
  const auto max_from = [&](std::int64_t r, std::int64_t c) {
    return Max<T>(block.input<T>(0, r) + c, r < block.count ? std::min(chunk, n - c) : 0);
  };
  Out before(nullptr, 0, false, {});
  T most = max_from(0, 0).rest();
  for (std::int64_t r = 0; r < block.count; ++r) {
    const T* const x = block.input<T>(0, r);
    T* const y = block.output<T>(r);
    T* const e = block.large ? static_cast<T*>(rooms.data) + r % 2 * n : y;
    T reference = most;
    double total = 0;
    for (std::int64_t c = 0; c < n; c += chunk) {
      if (most > reference + far) {  // once a row: no element is larger then
        reference = max(x + c, n - c);
        total = exponentials(x, reference, e, c);
      }
      Max<T> next = c + chunk < n ? max_from(r, c + chunk) : max_from(r + 1, 0);
      total += exponentials(
          x + c, reference, e + c, std::min(chunk, n - c), [&]() __attribute__((always_inline)) {
            next.step();
            before.step();
          });
      most = next.rest();
    }
    before.rest();
    before = Out(y, n, block.large, {e, static_cast<T>(1 / total)});
  }
  before.rest();
  if (block.large) end_streams();
}

/// dx = o (g - sum(o g)). While a row's sum is made, the one before is written.
template<class T>
void softmax_backward(const RowBlock& block, std::int64_t n) {
  struct Difference {
    const T *o, *g;
    T dot;
    Vector<T> operator()(std::int64_t i, std::int64_t k) const {
      return read(o + i, k) * (read(g + i, k) - Vector<T>::all(dot));
    }
  };
  using Out = Writer<T, Difference>;
  Out before(nullptr, 0, false, {});
  for (std::int64_t r = 0; r < block.count; ++r) {
    const T *const o = block.input<T>(0, r), *const g = block.input<T>(1, r);
    Dot<T> dot(o, g, n);
    for (std::int64_t i = 0; i < n; i += vectors_in_step * lanes_of<T>) {
      dot.step();
      before.step();
    }
    before.rest();
    before = Out(block.output<T>(r), n, block.large, {o, g, static_cast<T>(dot.rest())});
  }
  before.rest();
  if (block.large) end_streams();
}

}  // namespace bobbin::rows
