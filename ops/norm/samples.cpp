// Calls of the normalisations, for the tests and the gradient checker.
#include "ops/samples.h"

#include <bobbin/view.h>

#include <limits>

#include "ops/norm/batch_norm.h"
#include "ops/norm/row_norm.h"

namespace bobbin {

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

// Rows far from 0, equal elements, a row with an infinite and one with a NaN element, and extreme scales.
Tensor extreme_rows() {
  return tensor({{10000, 10001, 10002, 10004},
                 {3, 3, 3, 3},
                 {1, inf, 2, 3},
                 {nan, 0, 1, 2},
                 {1e20, 2e20, 3e20, 4e20},
                 {1e-30, 2e-30, -3e-30, 4e-30}},
                DType::f64);
}

}  // namespace

template<>
std::vector<Sample> LayerNorm::samples() {
  const auto over_last = [](Inputs x) { return layer_norm(x[0], {x[0].size(-1)}, x[1], x[2]); };
  const auto alone = [](Inputs x) { return layer_norm(x[0], {x[0].size(-1)}); };
  return {
      batch({"last axis", {sample_input({3, 5}), sample_input({5}), sample_input({5})}, over_last}),
      {"two axes",
       {sample_input({2, 3, 2}), sample_input({3, 2})},
       [](Inputs x) {
         return layer_norm(x[0], {3, 2}, x[1]);
       }},
      {"a bias alone",
       {sample_input({2, 4}), sample_input({4})},
       [](Inputs x) { return layer_norm(x[0], {4}, {}, x[1]); }},
      {"one element", {sample_input({3, 1}), sample_input({1}), sample_input({1})}, over_last},
      {"no rows", {sample_input({0, 4}), sample_input({4}), sample_input({4})}, over_last},
      {"empty rows", {sample_input({3, 0}), sample_input({0}), sample_input({0})}, over_last},
      {"many rows", {sample_input({70, 64}), sample_input({64}), sample_input({64})}, over_last, {}, false},
      {"wide", {sample_input({3, 1500}), sample_input({1500}), sample_input({1500})}, over_last, {}, false},
      {"extreme rows", {extreme_rows()}, alone, {}, false},
      invalid(
          "shape", {sample_input({2, 3})}, [](Inputs x) { return layer_norm(x[0], {4}); },
          "layer_norm: expected last axes [4]; got f64[2,3]"),
      invalid(
          "no axes", {sample_input({2, 3})}, [](Inputs x) { return layer_norm(x[0], {}); },
          "layer_norm: expected the sizes of at least one axis; got none"),
      invalid("weight", {sample_input({2, 3}), sample_input({2}), sample_input({3})}, over_last,
              "layer_norm: expected a weight [3]; got f64[2]")};
}

template<>
std::vector<Sample> RmsNorm::samples() {
  const auto over_last = [](Inputs x) {
    return rms_norm(x[0], {x[0].size(-1)}, x.size() > 1 ? x[1] : Tensor());
  };
  return {batch({"last axis", {sample_input({3, 5}), sample_input({5})}, over_last}),
          {"no weight", {sample_input({2, 6})}, over_last},
          {"no rows", {sample_input({0, 4}), sample_input({4})}, over_last},
          {"wide", {sample_input({3, 1500}), sample_input({1500})}, over_last, {}, false},
          {"extreme rows", {extreme_rows()}, over_last, {}, false},
          invalid(
              "shape", {sample_input({2, 3})}, [](Inputs x) { return rms_norm(x[0], {4}); },
              "rms_norm: expected last axes [4]; got f64[2,3]")};
}

template<>
std::vector<Sample> GroupNorm::samples() {
  const auto in = [](std::int64_t groups) {
    return [groups](Inputs x) {
      return group_norm(x[0], groups, x.size() > 1 ? x[1] : Tensor(), x.size() > 2 ? x[2] : Tensor());
    };
  };
  return {batch({"two groups", {sample_input({2, 4, 3}), sample_input({4}), sample_input({4})}, in(2)}),
          {"images", {sample_input({1, 4, 2, 2}), sample_input({4}), sample_input({4})}, in(4)},
          {"of channels", {sample_input({3, 6}), sample_input({6}), sample_input({6})}, in(2)},
          {"no weight", {sample_input({2, 2, 3})}, in(1)},
          {"no images", {sample_input({0, 4, 2}), sample_input({4}), sample_input({4})}, in(2)},
          {"extreme rows", {reshape(extreme_rows(), {3, 2, 4})}, in(2), {}, false},
          {"large planes",
           {sample_input({2, 6, 15, 16}), sample_input({6}), sample_input({6})},
           in(3),
           {},
           false},
          invalid("groups", {sample_input({2, 4}), sample_input({4}), sample_input({4})}, in(3),
                  "group_norm: 4 channels do not part into 3 groups")};
}

std::vector<Sample> BatchNorm::samples() {
  const auto call = [](bool training) {
    return [training](Inputs x) {
      const std::int64_t c = x[0].size(1);
      // Each call gets new running statistics, because training updates them.
      return batch_norm(x[0], full({c}, 0.25, x[0].dtype(), x[0].device()),
                        full({c}, 2, x[0].dtype(), x[0].device()), x[1], x[2], {.training = training});
    };
  };
  return {
      {"training", {sample_input({4, 3}), sample_input({3}), sample_input({3})}, call(true)},
      {"training on images", {sample_input({2, 2, 2, 3}), sample_input({2}), sample_input({2})}, call(true)},
      batch({"by running statistics",
             {sample_input({3, 2, 2}), sample_input({2}), sample_input({2})},
             call(false)}),
      {"no images", {sample_input({0, 2, 3}), sample_input({2}), sample_input({2})}, call(false)},
      invalid("one element", {sample_input({1, 2}), sample_input({2}), sample_input({2})}, call(true),
              "batch_norm: training wants more than one element a channel; got f64[1,2]")};
}

}  // namespace bobbin
