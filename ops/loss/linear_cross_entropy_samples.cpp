// Samples of linear_cross_entropy.
#include <bobbin/elementwise.h>
#include <bobbin/softmax.h>

#include "ops/loss/linear_cross_entropy.h"
#include "ops/samples.h"

namespace bobbin {

std::vector<Sample> LinearCrossEntropy::samples() {
  const auto with = [](const CrossEntropyOptions& o, std::int64_t rows = 0) {
    return [o, rows](Inputs x) {
      CrossEntropyOptions options = o;
      if (o.weight) options.weight = to(to(o.weight, x[0].dtype()), x[0].device());
      return linear_cross_entropy(x[0], x[1], x[2], options, {.rows = rows});
    };
  };
  const auto x = [] { return sample_input({4, 2}); };
  const auto w = [] { return sample_input({3, 2}); };
  const auto probabilities = [] { return softmax(sample_input({4, 3}), 1); };
  const Tensor targets = tensor({2, 0, 1, 2}, DType::i64), some = tensor({2, -100, 1, 2}, DType::i64),
               weight = sample_input({3}, 0.5, 2);
  std::vector<Sample> v{
      {"mean", {x(), w(), targets}, with({})},
      {"none", {x(), w(), targets}, with({.reduction = Reduction::none}, 2)},
      {"sum, blocks of three rows", {x(), w(), targets}, with({.reduction = Reduction::sum}, 3)},
      {"all ignored",
       {sample_input({1, 2}), sample_input({3, 2}), tensor({-100}, DType::i64)},
       with({}),
       {},
       false},
      {"probabilities", {x(), w(), probabilities()}, with({}, 3)},
      {"nothing inside", {sample_input({2, 0}), sample_input({3, 0}), tensor({2, 0}, DType::i64)}, with({})},
      {"sequences",
       {sample_input({2, 2, 3}), sample_input({4, 3}), tensor({{0, 1}, {3, 2}}, DType::i64)},
       with({.reduction = Reduction::none}, 3)},
      {"weights and ignored rows", {x(), w(), some}, with({.weight = weight}, 1)},
      {"probabilities, weights and smoothing",
       {x(), w(), probabilities()},
       with({.weight = weight, .label_smoothing = 0.1})},
      {"smoothing", {x(), w(), some}, with({.label_smoothing = 0.2})},
      {"several tiles",
       {sample_input({70, 40}), sample_input({150, 40}), randint(0, 150, {70})},
       with({}, 32),
       {},
       false},
      {"no rows, sum",
       {sample_input({0, 2}), sample_input({3, 2}), zeros({0}, DType::i64)},
       with({.reduction = Reduction::sum})},
      {"weights and smoothing, none",
       {x(), w(), some},
       with({.weight = weight, .label_smoothing = 0.2, .reduction = Reduction::none})},
      {"ignored rows", {x(), w(), some}, with({}, 2)},
      {"one row", {sample_input({3}), sample_input({2, 3}), tensor(1, DType::i64)}, with({})}};
  v.push_back(invalid("class", {x(), w(), tensor({0, 1, 3, 2}, DType::i64)}, with({}, 2),
                      "linear_cross_entropy: class 3 at flat position 2 is outside [0,3)"));
  v.push_back(invalid("in", {x(), sample_input({3, 4}), targets}, with({}),
                      "linear_cross_entropy: expected x [..., in] and weight [classes, in]; got f64[4,2] and "
                      "f64[3,4]"));
  v.push_back(invalid("target shape", {x(), w(), zeros({3}, DType::i64)}, with({}),
                      "linear_cross_entropy: class indices for f64[4,3] must be i64[4]; got i64[3]"));
  v.push_back(invalid("dtypes", {x(), to(w(), DType::f32), targets}, with({}),
                      "linear_cross_entropy: dtypes must agree; got f64[4,2] and f32[3,2]; convert one with "
                      "to(x, DType)"));
  v.push_back(invalid("class weights", {x(), w(), targets}, with({.weight = ones({4}, DType::f64)}),
                      "linear_cross_entropy: expected a weight f64[3]; got f64[4]"));
  v.push_back(invalid("rows", {x(), w(), targets}, with({}, -1),
                      "linear_cross_entropy: rows must not be negative; got -1"));
  return v;
}

}  // namespace bobbin
