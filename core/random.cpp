// Draws of random numbers on the CPU; core/cuda/random.cu has the draws on a GPU.
#include <bobbin/parallel.h>
#include <bobbin/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/ceil_div.h"
#include "core/cuda/backend.h"
#include "core/philox.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

// Gives f the next draw; one that throws draws nothing.
template<class F>
Tensor draw(F&& f) {
  Generator& g = default_generator();
  Tensor t = f(Philox{g.seed, g.draws});
  ++g.draws;
  return t;
}

// Fills t with f(i), computed as T.
template<class T, class F>
Tensor generate(Tensor t, F&& f) {
  const StridedView view(t);
  parallel_for(ceil_div(t.numel(), block_size), [&](std::int64_t b) {
    T values[block_size];
    const std::int64_t first = b * block_size, n = std::min(block_size, t.numel() - first);
    for (std::int64_t i = 0; i < n; ++i) values[i] = f(static_cast<std::uint64_t>(first + i));
    view.write(first, n, dtype_of<T>(), values);
  });
  return t;
}

void require_floating(std::string_view what, DType dtype) {
  if (!is_floating(dtype)) fail<DTypeError>(what, ": expected a floating-point dtype; got ", dtype);
}

// The largest number of T that is below x.
template<class T>
double below(double x) {
  T t = static_cast<T>(x);
  if constexpr (is_16bit_float<T>) {
    if (t >= x)
      t.bits = static_cast<std::uint16_t>(t.bits & 0x8000 ? t.bits + 1 : t.bits ? t.bits - 1 : 0x8001);
    return static_cast<double>(static_cast<float>(t));
  } else {
    return static_cast<double>(t) < x ? t : std::nextafter(t, -std::numeric_limits<T>::infinity());
  }
}

// The largest value of a draw from [low, high) in this dtype: rounding would take some draws to `high`.
double largest(double low, double high, DType dtype) {
  if (!(low < high)) return std::numeric_limits<double>::infinity();
  return std::max(low, visit(dtype, [&]<class T>(Type<T>) {
                    if constexpr (std::is_integral_v<T>)
                      return 0.0;
                    else
                      return below<T>(high);
                  }));
}

// The largest finite number of a floating dtype.
double largest_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return std::numeric_limits<double>::max();
    case DType::bf16:
      return 0x1.fep127;
    case DType::f16:
      return 65504;
    default:
      return std::numeric_limits<float>::max();
  }
}

// Whether elements of the dtype can be all integers of [low, high]; those of 16-bit types may be rounded.
bool spans(DType dtype, std::int64_t low, std::int64_t high) {
  switch (dtype) {
    case DType::i32:
      return low >= std::numeric_limits<std::int32_t>::min() &&
             high <= std::numeric_limits<std::int32_t>::max();
    case DType::u8:
      return low >= 0 && high <= 255;
    case DType::boolean:
      return low >= 0 && high <= 1;
    case DType::f16:
      return low >= -65504 && high <= 65504;
    default:
      return true;
  }
}

// The Box-Muller transformation: two uniform numbers of [0, 1) give two normal ones. 1 - u is never 0.
double box_muller(double u, double v, bool second) {
  const double radius = std::sqrt(-2 * std::log(1 - u)), angle = 2 * std::numbers::pi * v;
  return radius * (second ? std::sin(angle) : std::cos(angle));
}

}  // namespace

Generator& default_generator() {
  // Numbers the threads that draw, from 1. The odd factor keeps their seeds far from those that people
  // choose.
  static std::atomic<std::uint64_t> threads = 0;
  thread_local Generator generator = {gettid() == getpid() ? 0 : ++threads * 0x9E37'79B9'7F4A'7C15u, 0};
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = {seed, 0}; }

Tensor rand(const Shape& shape, DType dtype, Device device) { return uniform(shape, 0, 1, dtype, device); }

Tensor uniform(const Shape& shape, double low, double high, DType dtype, Device device) {
  require_floating("uniform", dtype);
  const double most = largest_of(dtype);
  if (!(std::abs(low) <= most && std::abs(high) <= most))
    fail<ValueError>("uniform: expected finite ends in the range of ", dtype, "; got ", low, " and ", high);
  const double top = largest(low, high, dtype);
  const Tensor t = empty(shape, dtype, device);
  return draw([&](const Philox& philox) {
    if (device.is_cuda()) return cuda::uniform(t, philox, low, high, top), t;
    if (dtype == DType::f64)
      return generate<double>(t, [=, interval = Interval<double>(low, high)](std::uint64_t i) {
        return std::min(top, interval(to_unit(philox.word64(i))));
      });
    return generate<float>(
        t, [=, end = static_cast<float>(top), interval = Interval<float>(low, high)](std::uint64_t i) {
          return std::min(end, interval(to_unit(philox.word(i))));
        });
  });
}

Tensor randn(const Shape& shape, DType dtype, Device device) {
  require_floating("randn", dtype);
  const Tensor t = empty(shape, dtype, device);
  return draw([&](const Philox& philox) {
    if (device.is_cuda()) return cuda::normal(t, philox), t;
    if (dtype == DType::f64)
      return generate<double>(t, [=](std::uint64_t i) {
        return box_muller(to_unit(philox.word64(i & ~1ull)), to_unit(philox.word64(i | 1)), i & 1);
      });
    return generate<float>(t, [=](std::uint64_t i) {
      return static_cast<float>(
          box_muller(to_unit(philox.word(i & ~1ull)), to_unit(philox.word(i | 1)), i & 1));
    });
  });
}

Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, DType dtype, Device device) {
  if (low >= high) fail<ValueError>("randint: expected low < high; got ", low, " and ", high);
  if (!spans(dtype, low, high - 1))
    fail<ValueError>("randint: [", low, ", ", high, ") leaves the range of ", dtype,
                     "; choose another dtype");
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  const Tensor t = empty(shape, dtype, device);
  return draw([&](const Philox& philox) {
    if (device.is_cuda()) return cuda::randint(t, philox, low, range), t;
    // The upper half of a 128-bit product maps 64 random bits to the range; the bias is below range / 2^64.
    return generate<std::int64_t>(t, [=](std::uint64_t i) {
      __extension__ using wide = unsigned __int128;
      const auto k = static_cast<std::uint64_t>(wide{philox.word64(i)} * range >> 64);
      return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + k);
    });
  });
}

Tensor bernoulli(const Shape& shape, double p, DType dtype, Device device) {
  if (!(p >= 0 && p <= 1)) fail<ValueError>("bernoulli: expected a probability; got ", p);
  const Tensor t = empty(shape, dtype, device);
  return draw([&](const Philox& philox) {
    if (device.is_cuda()) return cuda::bernoulli(t, philox, Chance(p)), t;
    return generate<float>(t, [=, chance = Chance(p)](std::uint64_t i) {
      return chance.happens(philox.word(i), philox, i) ? 1.0f : 0.0f;
    });
  });
}

Tensor randperm(std::int64_t n, Device device) {
  if (n < 0) fail<ValueError>("randperm: expected a count of at least 0; got ", n);
  Tensor t = empty({n}, DType::i64, device);
  return draw([&](const Philox& philox) {
    if (device.is_cuda()) return cuda::randperm(t, philox), t;
    std::vector<std::pair<std::uint64_t, std::int64_t>> keys(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
      keys[static_cast<std::size_t>(i)] = {philox.word64(static_cast<std::uint64_t>(i)), i};
    std::sort(keys.begin(), keys.end());
    std::transform(keys.begin(), keys.end(), t.mutable_data<std::int64_t>().begin(),
                   [](auto& k) { return k.second; });
    return t;
  });
}

}  // namespace bobbin
