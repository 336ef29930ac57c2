#include "ops/random/random_affine.h"

#include <bobbin/parallel.h>

#include <algorithm>

#include "ops/check.h"
#include "ops/samples.h"

namespace bobbin {
namespace {

// Rows that are only moved are copied.
template<class T>
void move_rows(const Motion& m, const T* from, T* to, int h, int w, T fill) {
  const int first = std::clamp(-m.along, 0, w), last = std::clamp(w - m.along, first, w);
  for (int y = 0; y < h; ++y, to += w) {
    const int row = y + m.down;
    if (row < 0 || row >= h) {
      std::fill_n(to, w, fill);
      continue;
    }
    std::fill_n(to, first, fill);
    std::copy(from + row * w + first + m.along, from + row * w + last + m.along, to + first);
    std::fill(to + last, to + w, fill);
    if (m.flipped) std::reverse(to, to + w);
  }
}

template<class T>
void turn_rows(const Motion& m, const T* from, T* to, int h, int w, T fill) {
  using W = std::conditional_t<std::is_same_v<T, double>, double, float>;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) *to++ = T(m.pixel<W>(from, h, w, y, x, static_cast<W>(fill)));
}

}  // namespace

TensorSpec RandomAffine::infer(Inputs x) const {
  require_floating(name, x[0]);
  if (x[0].rank() != 4 || x[0].size(2) * x[0].size(3) >= std::int64_t{1} << 31)
    fail<ShapeError>(name, ": expected images [n, channels, height, width]; got ", x[0].spec());
  return x[0].spec();
}

void RandomAffine::cpu(Inputs x, Tensor& y) const {
  const Philox philox{state.seed, state.draws};
  const int h = static_cast<int>(y.size(2)), w = static_cast<int>(y.size(3));
  const std::int64_t channels = y.size(1), plane = y.size(2) * y.size(3);
  visit_floating(y.dtype(), [&]<class T>(Type<T>) {
    const auto* const from = x[0].raw<T>();
    auto* const to = y.raw<T>();
    const T fill = T(options.fill);
    parallel_for(y.size(0), [&](std::int64_t image) {
      const Motion motion(options, philox(static_cast<std::uint64_t>(image)));
      for (std::int64_t p = image * channels; p < (image + 1) * channels; ++p)
        (motion.turned ? turn_rows<T> : move_rows<T>)(motion, from + p * plane, to + p * plane, h, w, fill);
    });
  });
}

Tensor random_affine(const Tensor& images, const RandomAffineOptions& o) {
  if (!(o.degrees >= 0 && o.degrees <= 180) || o.shift < 0 || o.shift > 1 << 20 ||
      !(o.flip >= 0 && o.flip <= 1))
    fail<ValueError>(RandomAffine::name,
                     ": expected degrees in [0, 180], a shift in [0, 2^20] and a probability of flips; got ",
                     o.degrees, ", ", o.shift, " and ", o.flip);
  Generator& generator = default_generator();
  Tensor y = record(RandomAffine{o, generator}, {images});
  ++generator.draws;  // a call that throws draws nothing
  return y;
}

std::vector<Sample> RandomAffine::samples() {
  // A checked call must be one function of its input: the state is given here, not taken from the generator.
  const auto fixed = [](const RandomAffineOptions& o) {
    return [o](Inputs x) { return record(RandomAffine{o, {7, 3}}, x); };
  };
  const auto wrong = [](std::string note, const RandomAffineOptions& o, std::string what) {
    return invalid(
        std::move(note), {sample_input({1, 1, 2, 2})}, [o](Inputs x) { return random_affine(x[0], o); },
        "random_affine: expected degrees in [0, 180], a shift in [0, 2^20] and a probability of flips; got " +
            what);
  };
  return {{"moved", {sample_input({5, 2, 4, 3})}, fixed({.shift = 2, .fill = -1})},
          {"moved out of sight", {sample_input({6, 1, 2, 3})}, fixed({.shift = 7})},
          {"mirrored", {sample_input({6, 2, 2, 3})}, fixed({.flip = 0.5})},
          {"turned", {sample_input({3, 2, 5, 4})}, fixed({.degrees = 30, .fill = 0.5})},
          {"all of it", {sample_input({4, 1, 6, 7})}, fixed({.degrees = 180, .shift = 1, .flip = 0.5})},
          {"nothing", {sample_input({2, 1, 2, 2})}, fixed({})},
          {"no images", {sample_input({0, 1, 2, 2})}, fixed({.shift = 1})},
          {"no pixels", {sample_input({2, 3, 0, 4})}, fixed({.degrees = 10, .shift = 1})},
          {"many images", {sample_input({300, 3, 9, 11})}, fixed({.degrees = 10, .shift = 2, .flip = 0.5})},
          invalid("rank", {sample_input({2, 2})}, fixed({}),
                  "random_affine: expected images [n, channels, height, width]; got f64[2,2]"),
          wrong("degrees", {.degrees = 200}, "200, 0 and 0"),
          wrong("shift", {.shift = -1}, "0, -1 and 0"),
          wrong("flip", {.flip = 2}, "0, 0 and 2")};
}

}  // namespace bobbin
