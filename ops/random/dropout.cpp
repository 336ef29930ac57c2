#include "ops/random/dropout.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <limits>

#include "core/ceil_div.h"
#include "core/philox.h"
#include "core/strided_copy.h"
#include "ops/check.h"
#include "ops/samples.h"

namespace bobbin {
namespace {

constexpr std::int64_t tile = 16 * block_size;

// Words first, first + 1, ... of the draw, n of them rounded up to whole blocks. `first` begins a block.
void fill(const Philox& philox, std::int64_t first, std::int64_t n, std::uint32_t* __restrict words) {
  for (std::int64_t i = 0; i < n; i += 4) {
    const auto block = philox(static_cast<std::uint64_t>(first + i) / 4);
    for (int k = 0; k < 4; ++k) words[i + k] = block.v[k];
  }
}

template<class T>
void drop(const std::uint32_t* __restrict words, std::uint32_t threshold, T scale, const T* __restrict x,
          T* __restrict y, std::int64_t n) {
  // A choice, not a product: what is dropped is 0 even where x is NaN or infinite.
  for (std::int64_t i = 0; i < n; ++i) y[i] = words[i] >> 8 >= threshold ? x[i] * scale : T(0);
}

}  // namespace

TensorSpec Dropout::infer(Inputs x) const {
  require_floating(name, x[0]);
  return x[0].spec();
}

void Dropout::cpu(Inputs x, Tensor& y) const {
  const StridedView from(x[0]), to(y);
  const Philox philox{state.seed, state.draws};
  const DType type = compute_type(y.dtype());
  const std::int64_t count = y.numel();
  parallel_for(ceil_div(count, tile), [&](std::int64_t t) {
    alignas(64) std::uint32_t words[block_size];
    alignas(64) char in[block_size * 8], out[block_size * 8];
    const std::int64_t end = std::min(count, (t + 1) * tile);
    for (std::int64_t first = t * tile; first < end; first += block_size) {
      const std::int64_t n = std::min(block_size, end - first);
      fill(philox, first, n, words);
      const void* a = from.read(first, n, type, in);
      if (type == DType::f64)
        drop(words, threshold(), 1 / (1 - p), static_cast<const double*>(a), reinterpret_cast<double*>(out),
             n);
      else
        drop(words, threshold(), static_cast<float>(1 / (1 - p)), static_cast<const float*>(a),
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

std::vector<Sample> Dropout::samples() {
  // A checked call must be one function of its input: the state is given here, not taken from the generator.
  const auto fixed = [](double p) { return [p](Inputs x) { return record(Dropout{p, {7, 3}}, x); }; };
  const auto call = [](double p, bool training) {
    return [=](Inputs x) { return dropout(x[0], p, training); };
  };
  const auto wrong = [&](std::string note, double p, std::string what) {
    return invalid(std::move(note), {sample_input({2})}, call(p, false),
                   "dropout: expected a probability p in [0, 1]; got " + what);
  };
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  return {
      {"p = 0.4", {sample_input({4, 5})}, fixed(0.4)},
      {"p = 0.9", {sample_input({20})}, fixed(0.9)},
      {"of a view",
       {sample_input({3, 5})},
       [](Inputs x) {
         return record(Dropout{0.4, {7, 3}}, {transpose(x[0])});
       }},
      {"scalar", {sample_input({})}, fixed(0.4)},
      {"empty", {sample_input({0, 3})}, fixed(0.4)},
      {"p = 0", {sample_input({3})}, call(0, true)},
      {"p = 1", {sample_input({3})}, call(1, true)},
      {"not in training", {sample_input({3})}, call(0.5, false)},
      {"special values", {tensor({inf, -inf, nan, 1, inf, -inf, nan, 1}, DType::f64)}, fixed(0.5), {}, false},
      {"more than a tile", {sample_input({130, 301})}, fixed(0.4), {}, false},
      wrong("p < 0", -0.1, "-0.1"),
      wrong("p > 1", 1.5, "1.5"),
      wrong("p NaN", nan, "nan"),
      invalid("integers", {tensor({1, 2}, DType::i64)}, call(0.5, true),
              "dropout: expected a floating-point tensor; got i64[2]")};
}

}  // namespace bobbin
