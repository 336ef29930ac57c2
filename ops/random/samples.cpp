// Samples of dropout and random_affine. Checked calls must be functions of their inputs, so they pass the
// state of the generator instead of using the default generator.
#include "ops/samples.h"

#include <bobbin/dropout.h>
#include <bobbin/view.h>

#include <limits>

#include "ops/random/dropout.h"
#include "ops/random/random_affine.h"

namespace bobbin {

std::vector<Sample> Dropout::samples() {
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

std::vector<Sample> RandomAffine::samples() {
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
