// Random numbers by a counter-based generator (Philox4x32-10): element i of a draw depends only on the seed,
// the number of the draw and i, and not on the device, the number of threads or the shape.
#pragma once
#include <bobbin/tensor.h>

#include <cstdint>
#include <utility>

namespace bobbin {

/// The state of a generator: a seed and the number of draws. A draw is one call that makes a random tensor.
struct Generator {
  std::uint64_t seed = 0;   ///< the key of all draws
  std::uint64_t draws = 0;  ///< draws made so far: the offset of the next one
};

/// The generator that draws of this thread use: the main thread's starts with seed 0, each other with its
/// own.
Generator& default_generator();
/// Sets the seed of this thread's generator, and its number of draws to 0.
void manual_seed(std::uint64_t seed);

/// While it lives, this thread draws from another state; afterwards it continues from the earlier state.
class GeneratorScope {
 public:
  /// Draws of this thread use a copy of g.
  explicit GeneratorScope(const Generator& g) : before_(std::exchange(default_generator(), g)) {}
  /// Restores the state.
  ~GeneratorScope() { default_generator() = before_; }
  GeneratorScope(const GeneratorScope&) = delete;
  GeneratorScope& operator=(const GeneratorScope&) = delete;

 private:
  Generator before_;
};

/// Uniform on [0, 1). Throws DTypeError unless the dtype is floating.
Tensor rand(const Shape&, DType = DType::f32, Device = {});
/// Uniform on [low, high). Throws DTypeError unless the dtype is floating, and ValueError unless both ends
/// are finite and in its range.
Tensor uniform(const Shape&, double low, double high, DType = DType::f32, Device = {});
/// Standard normal, by Box and Muller's transformation.
Tensor randn(const Shape&, DType = DType::f32, Device = {});
/// Uniform integers of [low, high). Throws ValueError unless low < high and all of them are in the range of
/// the dtype; those that a floating dtype does not have are rounded.
Tensor randint(std::int64_t low, std::int64_t high, const Shape&, DType = DType::i64, Device = {});
/// 1 with probability p, rounded up to a multiple of 2^-64, else 0. Throws ValueError unless 0 <= p <= 1.
Tensor bernoulli(const Shape&, double p, DType = DType::f32, Device = {});
/// A random permutation of 0 ... n-1, as i64.
Tensor randperm(std::int64_t n, Device = {});

}  // namespace bobbin
