// dropout: checks, the public function, and the CPU kernel.
#include "ops/random/dropout.h"

#include <bobbin/dropout.h>
#include <bobbin/parallel.h>

#include <algorithm>

#include "core/ceil_div.h"
#include "core/philox.h"
#include "core/strided_copy.h"
#include "ops/check.h"

namespace bobbin {
namespace {

constexpr std::int64_t chunk = 16 * block_size;  // elements per task of a thread

// Writes words [first, first + n) of the draw, with n rounded up to a multiple of 4, the size of a Philox
// block. `first` is a multiple of 4.
void fill(const Philox& philox, std::int64_t first, std::int64_t n, std::uint32_t* __restrict words) {
  for (std::int64_t i = 0; i < n; i += 4) {
    const auto block = philox(static_cast<std::uint64_t>(first + i) / 4);
    for (int k = 0; k < 4; ++k) words[i + k] = block.v[k];
  }
}

// Elements first, first + 1, ... of the tensor, whose words of the draw are `words`.
template<class T>
void drop(const std::uint32_t* __restrict words, const Chance& chance, const Philox& philox,
          std::int64_t first, T scale, const T* __restrict x, T* __restrict y, std::int64_t n) {
  const std::uint32_t whole = chance.whole;
  std::uint32_t ties = 0;
  for (std::int64_t i = 0; i < n; ++i) ties |= static_cast<std::uint32_t>(words[i] == whole);
  // A selection instead of a product, so that a dropped element is 0 even where x is NaN or infinite.
  for (std::int64_t i = 0; i < n; ++i) y[i] = words[i] >= whole ? x[i] * scale : T(0);
  if (ties == 0) return;
  for (std::int64_t i = 0; i < n; ++i)
    if (chance.happens(words[i], philox, static_cast<std::uint64_t>(first + i))) y[i] = T(0);
}

}  // namespace

TensorSpec Dropout::infer(Inputs x) const {
  require_floating(name, x[0]);
  return x[0].spec();
}

void Dropout::cpu(Inputs x, Tensor& y) const {
  const StridedView from(x[0]), to(y);
  const Philox philox{state.seed, state.draws};
  const Chance chance(p);
  const DType type = compute_type(y.dtype());
  const std::int64_t count = y.numel();
  parallel_for(ceil_div(count, chunk), [&](std::int64_t t) {
    alignas(64) std::uint32_t words[block_size];
    alignas(64) char in[block_size * 8], out[block_size * 8];
    const std::int64_t end = std::min(count, (t + 1) * chunk);
    for (std::int64_t first = t * chunk; first < end; first += block_size) {
      const std::int64_t n = std::min(block_size, end - first);
      fill(philox, first, n, words);
      const void* a = from.read(first, n, type, in);
      if (type == DType::f64)
        drop(words, chance, philox, first, 1 / (1 - p), static_cast<const double*>(a),
             reinterpret_cast<double*>(out), n);
      else
        drop(words, chance, philox, first, static_cast<float>(1 / (1 - p)), static_cast<const float*>(a),
             reinterpret_cast<float*>(out), n);
      to.write(first, n, type, out);
    }
  });
}

Tensor dropout(const Tensor& x, double p, bool training) {
  if (!(p >= 0 && p <= 1)) fail<ValueError>("dropout: expected a probability p in [0, 1]; got ", p);
  if (!training || p == 0) return x;
  Generator& generator = default_generator();
  Tensor y = record(Dropout{p, generator}, {x});
  ++generator.draws;  // a call that throws draws nothing
  return y;
}

}  // namespace bobbin
