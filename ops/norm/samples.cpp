// Calls of the normalisations, for the tests and the gradient checker.
#include "ops/norm/samples.h"

#include "ops/norm/batch_norm.h"
#include "ops/samples.h"

namespace bobbin {

std::vector<Sample> layer_norm_samples() {
  const auto over_last = [](Inputs x) { return layer_norm(x[0], {x[0].size(-1)}, x[1], x[2]); };
  return {batch({"last axis", {sample_input({3, 5}), sample_input({5}), sample_input({5})}, over_last}),
          {"two axes",
           {sample_input({2, 3, 2}), sample_input({3, 2})},
           [](Inputs x) {
             return layer_norm(x[0], {3, 2}, x[1]);
           }},
          {"no rows", {sample_input({0, 4}), sample_input({4}), sample_input({4})}, over_last},
          invalid(
              "shape", {sample_input({2, 3})}, [](Inputs x) { return layer_norm(x[0], {4}); },
              "layer_norm: expected last axes [4]; got f64[2,3]"),
          invalid("weight", {sample_input({2, 3}), sample_input({2}), sample_input({3})}, over_last,
                  "layer_norm: expected a weight [3]; got f64[2]")};
}

std::vector<Sample> rms_norm_samples() {
  const auto over_last = [](Inputs x) { return rms_norm(x[0], {x[0].size(-1)}, x[1]); };
  return {batch({"last axis", {sample_input({3, 5}), sample_input({5})}, over_last}),
          {"no rows", {sample_input({0, 4}), sample_input({4})}, over_last},
          invalid(
              "shape", {sample_input({2, 3})}, [](Inputs x) { return rms_norm(x[0], {4}); },
              "rms_norm: expected last axes [4]; got f64[2,3]")};
}

std::vector<Sample> group_norm_samples() {
  const auto in = [](std::int64_t groups) {
    return [groups](Inputs x) { return group_norm(x[0], groups, x[1], x[2]); };
  };
  return {batch({"two groups", {sample_input({2, 4, 3}), sample_input({4}), sample_input({4})}, in(2)}),
          {"images", {sample_input({1, 4, 2, 2}), sample_input({4}), sample_input({4})}, in(4)},
          {"no images", {sample_input({0, 4, 2}), sample_input({4}), sample_input({4})}, in(2)},
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
