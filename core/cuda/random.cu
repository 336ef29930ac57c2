// The draws of core/random.cpp on a GPU. Each thread computes one Philox block and the elements that it
// gives.
#include <cmath>
#include <numbers>

#include "core/cast.h"
#include "core/cuda/backend.h"
#include "core/cuda/pack.cuh"
#include "core/cuda/replay_arg.h"
#include "core/cuda/runtime.h"
#include "core/cuda/sort.h"

namespace bobbin::cuda {
namespace {

constexpr int threads = 256;

// The elements of one Philox block: four elements, of a 32-bit word each, or two of 64 bits each.
template<class T>
struct Values {
  static constexpr int count = 16 / sizeof(T);
  T v[count];
};

// Uniform on [0, 1).
template<class T>
__device__ Values<T> units(const Philox::Block& b) {
  Values<T> u;
#pragma unroll
  for (int k = 0; k < u.count; ++k)
    if constexpr (sizeof(T) == 4)
      u.v[k] = to_unit(b.v[k]);
    else
      u.v[k] = to_unit(b.double_word(k));
  return u;
}

template<class T>
struct Uniform {
  Interval<T> interval;
  T top;
  __device__ Values<T> operator()(const Philox::Block& b, const Philox&, std::uint64_t) const {
    Values<T> u = units<T>(b);
#pragma unroll
    for (T& x : u.v) {
      const T scaled = interval(x);
      x = scaled < top ? scaled : top;
    }
    return u;
  }
};

template<class T>
struct Normal {
  __device__ Values<T> operator()(const Philox::Block& b, const Philox&, std::uint64_t) const {
    Values<T> u = units<T>(b);
#pragma unroll
    for (int k = 0; k < u.count; k += 2) {
      const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(u.v[k])));
      const double angle = 2 * std::numbers::pi * u.v[k + 1];
      double sine, cosine;
      sincos(angle, &sine, &cosine);
      u.v[k] = static_cast<T>(radius * cosine);
      u.v[k + 1] = static_cast<T>(radius * sine);
    }
    return u;
  }
};

struct Integers {
  std::uint64_t low, range;
  __device__ Values<std::int64_t> operator()(const Philox::Block& b, const Philox&, std::uint64_t) const {
    Values<std::int64_t> x;
#pragma unroll
    for (int k = 0; k < x.count; ++k)
      x.v[k] = static_cast<std::int64_t>(low + __umul64hi(b.double_word(k), range));
    return x;
  }
};

struct Bernoulli {
  Chance chance;
  __device__ Values<float> operator()(const Philox::Block& b, const Philox& philox,
                                      std::uint64_t block) const {
    Values<float> x;
    bool tie = false;
#pragma unroll
    for (int k = 0; k < x.count; ++k) {
      tie |= b.v[k] == chance.whole;
      x.v[k] = b.v[k] < chance.whole ? 1 : 0;
    }
    if (tie)
#pragma unroll
      for (int k = 0; k < x.count; ++k)
        if (b.v[k] == chance.whole && further(philox, block * 4 + k, chance.rest)) x.v[k] = 1;
    return x;
  }

 private:
  static __device__ __noinline__ bool further(Philox philox, std::uint64_t i, std::uint64_t rest) {
    return philox.further_word(i) < rest;
  }
};

template<class E, class T>
__device__ void store(const Values<T>& x, E* y, std::int64_t first, std::int64_t n) {
  Pack<E, Values<T>::count> v;
#pragma unroll
  for (int k = 0; k < v.size; ++k) v.v[k] = cast<E>(x.v[k]);
  if (n - first >= v.size)
    *reinterpret_cast<decltype(v)*>(y + first) = v;
  else
#pragma unroll
    for (int k = 0; k < v.size; ++k)
      if (first + k < n) y[first + k] = v.v[k];
}

template<class F>
constexpr int count_of = decltype(std::declval<F>()({}, {}, {}))::count;

template<class F>
__global__ void __launch_bounds__(threads)
    draw(const __grid_constant__ ReplayArg<Philox> philox, F f, void* y, DType dtype, std::int64_t n) {
  const std::int64_t block = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  const std::int64_t first = block * count_of<F>;
  if (first >= n) return;
  const Philox p = philox.get();
  const auto x = f(p(static_cast<std::uint64_t>(block)), p, static_cast<std::uint64_t>(block));
  visit(dtype, [&]<class E>(Type<E>) { store(x, static_cast<E*>(y), first, n); });
}

__global__ void __launch_bounds__(threads)
    draw_keys(const __grid_constant__ ReplayArg<Philox> philox, std::uint64_t* __restrict__ keys,
              std::int64_t* __restrict__ positions, std::int64_t n) {
  const std::int64_t block = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (block * 2 >= n) return;
  const Philox::Block b = philox.get()(static_cast<std::uint64_t>(block));
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const std::int64_t i = block * 2 + k;
    if (i >= n) continue;
    keys[i] = b.double_word(k);
    positions[i] = i;
  }
}

template<class F>
void fill(const char* op, const Tensor& y, const Philox& philox, F f) {
  const std::int64_t n = y.numel();
  launch(op, {.device = y.device(), .grid = blocks_for(n, threads * count_of<F>), .block = threads}, draw<F>,
         replay_arg(philox), f, y.raw(), y.dtype(), n);
}

}  // namespace

void uniform(const Tensor& y, const Philox& philox, double low, double high, double top) {
  const auto in = [&]<class T>(T) {
    fill("uniform", y, philox, Uniform<T>{Interval<T>(low, high), static_cast<T>(top)});
  };
  y.dtype() == DType::f64 ? in(double{}) : in(float{});
}

void normal(const Tensor& y, const Philox& philox) {
  if (y.dtype() == DType::f64)
    fill("randn", y, philox, Normal<double>{});
  else
    fill("randn", y, philox, Normal<float>{});
}

void randint(const Tensor& y, const Philox& philox, std::int64_t low, std::uint64_t range) {
  fill("randint", y, philox, Integers{static_cast<std::uint64_t>(low), range});
}

void bernoulli(const Tensor& y, const Philox& philox, const Chance& chance) {
  fill("bernoulli", y, philox, Bernoulli{chance});
}

void randperm(const Tensor& y, const Philox& philox) {
  const std::int64_t n = y.numel();
  const auto numbers = [&] { return empty({n}, DType::i64, y.device()); };
  const Tensor keys = numbers();
  launch("randperm", {.device = y.device(), .grid = blocks_for(n, threads * 2), .block = threads}, draw_keys,
         replay_arg(philox), keys.raw<std::uint64_t>(), y.raw<std::int64_t>(), n);
  // A radix sort with an even number of passes, such as one of 64 bits, ends in the array it began in.
  const Tensor sorted = sort_pairs({keys, y}, {numbers(), numbers()}, 64).values;
  if (sorted.raw() != y.raw()) copy_on_device(sorted, y);
}

}  // namespace bobbin::cuda
