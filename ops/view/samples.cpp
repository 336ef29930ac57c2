// Samples of views, concat, pad and to_device.
#include "ops/samples.h"

#include <bobbin/elementwise.h>

#include <algorithm>

#include "ops/view/concat.h"
#include "ops/view/pad.h"
#include "ops/view/to_device.h"
#include "ops/view/view.h"

namespace bobbin {

std::vector<Sample> Reshape::samples() {
  const Tensor x = sample_input({2, 6});
  const auto to = [](Shape s) { return [s](Inputs x) { return reshape(x[0], s); }; };
  return {{"to [3,4]", {x}, to({3, 4})},
          {"with -1", {x}, to({2, -1, 2})},
          {"of a transposed view",
           {x},
           [](Inputs x) {
             return reshape(transpose(x[0]), {4, 3});
           }},
          {"flatten", {sample_input({2, 3, 2})}, [](Inputs x) { return flatten(x[0], 1); }},
          {"squeeze", {sample_input({2, 1, 3, 1})}, [](Inputs x) { return squeeze(squeeze(x[0], 1)); }},
          {"squeeze of a view",
           {sample_input({2, 1, 3})},
           [](Inputs x) { return squeeze(transpose(x[0], 0, 2), 1); }},
          {"unsqueeze", {sample_input({2, 3})}, [](Inputs x) { return unsqueeze(unsqueeze(x[0], 0), -1); }},
          {"empty", {sample_input({0, 3})}, to({3, 0, 2})},
          invalid("count", {x}, to({5, 2}), "reshape: f64[2,6] has 12 elements, which [5,2] does not hold"),
          invalid("two open sizes", {x}, to({-1, -1}),
                  "reshape: shape [-1,-1] has more than one -1, or a negative size"),
          invalid(
              "squeeze", {x}, [](Inputs x) { return squeeze(x[0], 0); },
              "squeeze: axis 0 of f64[2,6] is not of size 1")};
}

std::vector<Sample> Permute::samples() {
  const Tensor x = sample_input({2, 3, 4});
  return {{"all axes",
           {x},
           [](Inputs x) {
             return permute(x[0], {2, 0, 1});
           }},
          {"transpose", {x}, [](Inputs x) { return transpose(x[0]); }},
          {"movedim", {x}, [](Inputs x) { return movedim(x[0], 0, -1); }},
          {"0 dimensions", {sample_input({})}, [](Inputs x) { return permute(x[0], {}); }},
          invalid(
              "an axis twice", {x},
              [](Inputs x) {
                return permute(x[0], {0, 0, 1});
              },
              "permute: [0,0,1] does not name each axis of f64[2,3,4] once")};
}

std::vector<Sample> Slice::samples() {
  const Tensor x = sample_input({4, 5});
  return {{"rows", {x}, [](Inputs x) { return slice(x[0], 0, 1, 3); }},
          {"with a step", {x}, [](Inputs x) { return slice(x[0], 1, 0, 5, 2); }},
          {"from the end", {x}, [](Inputs x) { return slice(x[0], -1, -3, 99, 1); }},
          {"nothing", {x}, [](Inputs x) { return slice(x[0], 0, 3, 1); }},
          {"of nothing", {sample_input({0, 3})}, [](Inputs x) { return slice(x[0], 1, 1, 3); }},
          {"of one", {sample_input({1})}, [](Inputs x) { return slice(x[0], 0, 0, 1); }},
          {"select", {x}, [](Inputs x) { return select(x[0], 1, -1); }},
          {"narrow", {x}, [](Inputs x) { return narrow(x[0], 0, 1, 2); }},
          invalid(
              "step", {x}, [](Inputs x) { return slice(x[0], 0, 0, 4, 0); },
              "slice: expected a step of at least 1; got 0"),
          invalid(
              "select", {x}, [](Inputs x) { return select(x[0], 0, 4); },
              "select: index 4 is outside axis 0 of f64[4,5]"),
          invalid(
              "narrow", {x}, [](Inputs x) { return narrow(x[0], 0, 3, 2); },
              "narrow: 2 elements from 3 are not all in axis 0 of f64[4,5]")};
}

std::vector<Sample> Expand::samples() {
  return {{"an axis",
           {sample_input({3, 1})},
           [](Inputs x) {
             return expand(x[0], {3, 4});
           }},
          {"new axes",
           {sample_input({3})},
           [](Inputs x) {
             return expand(x[0], {2, 2, -1});
           }},
          {"a matrix",
           {sample_input({2, 3})},
           [](Inputs x) {
             return expand(x[0], {4, 2, 3});
           }},
          {"scalar",
           {sample_input({})},
           [](Inputs x) {
             return expand(x[0], {2, 3});
           }},
          invalid(
              "shape", {sample_input({3})}, [](Inputs x) { return expand(x[0], {4}); },
              "expand: f64[3] does not broadcast to [4]")};
}

std::vector<Sample> Concat::samples() {
  const Tensor a = sample_input({2, 3}), b = sample_input({2, 1}), c = sample_input({1, 3});
  const auto along = [](int axis) { return [axis](Inputs x) { return concat(x, axis); }; };
  const auto stacked = [](int axis) { return [axis](Inputs x) { return stack(x, axis); }; };
  const auto none = [](Inputs) { return concat(std::span<const Tensor>()); };
  const auto pieces = [](std::int64_t size, int axis) {
    return [=](Inputs x) {
      auto parts = split(x[0], size, axis);
      std::reverse(parts.begin(), parts.end());
      return concat(parts, axis);
    };
  };
  std::vector<Tensor> many;
  for (int i = 0; i < 70; ++i) many.push_back(sample_input({1, i % 3}));
  return {{"axis 0", {a, c}, along(0)},
          {"axis 1", {b, a, b}, along(1)},
          {"negative axis", {a, b}, along(-1)},
          {"middle axis", {sample_input({2, 1, 2}), sample_input({2, 2, 2})}, along(1)},
          {"one tensor", {a}, along(0)},
          {"one tensor twice",
           {c},
           [](Inputs x) {
             return concat({x[0], x[0]}, 0);
           }},
          {"of views",
           {sample_input({3, 2}), c},
           [](Inputs x) {
             return concat({transpose(x[0]), x[1]}, 0);
           }},
          {"an empty part", {a, sample_input({0, 3}), c}, along(0)},
          {"all empty", {sample_input({0, 2}), sample_input({0, 1})}, along(1)},
          {"70 tensors", many, along(1), {}, false},
          {"more than a tile", {sample_input({90, 150}), sample_input({90, 50})}, along(1), {}, false},
          {"stack", {a, sample_input({2, 3})}, stacked(0)},
          {"stack in the middle", {a, sample_input({2, 3})}, stacked(1)},
          {"stack at the end", {a, sample_input({2, 3})}, stacked(-1)},
          {"stack of scalars", {sample_input({}), sample_input({}), sample_input({})}, stacked(0)},
          {"split", {sample_input({5, 2})}, pieces(2, 0)},
          {"split along a negative axis", {a}, pieces(1, -1)},
          {"split in one piece", {a}, pieces(9, 0)},
          {"split of nothing", {sample_input({0, 2})}, pieces(2, 0)},
          invalid("none", {a}, none, "concat: expected at least one tensor; got none"),
          invalid("axis", {a, a}, along(2), "concat: axis 2 is out of range for 2 dimensions"),
          invalid("scalars", {sample_input({})}, along(0), "concat: axis 0 is out of range for 0 dimensions"),
          invalid("sizes", {a, b}, along(0),
                  "concat: sizes must agree on every axis but 0; got f64[2,3] and f64[2,1]"),
          invalid("ranks", {a, sample_input({2})}, along(1),
                  "concat: sizes must agree on every axis but 1; got f64[2,3] and f64[2]"),
          invalid("dtypes", {a, zeros({2, 3}, DType::i64)}, along(0),
                  "concat: dtypes must agree; got f64[2,3] and i64[2,3]; convert one with to(x, DType)"),
          invalid(
              "stack of none", {a}, [](Inputs) { return stack(std::span<const Tensor>()); },
              "stack: expected at least one tensor; got none"),
          invalid("stack axis", {a}, stacked(3), "stack: axis 3 is out of range for 3 dimensions"),
          invalid("stack shapes", {a, b}, stacked(0), "stack: shapes must agree; got f64[2,3] and f64[2,1]"),
          invalid("stack dtypes", {a, zeros({2, 3}, DType::i64)}, stacked(0),
                  "stack: dtypes must agree; got f64[2,3] and i64[2,3]; convert one with to(x, DType)"),
          invalid("split size", {a}, pieces(0, 0), "split: expected pieces of at least 1 element; got 0"),
          invalid("split axis", {a}, pieces(1, 2), "split: axis 2 is out of range for 2 dimensions")};
}

std::vector<Sample> Pad::samples() {
  const Tensor x = sample_input({2, 3});
  static constexpr std::int64_t most = INT64_MAX;
  return {{"one side",
           {x},
           [](Inputs x) {
             return pad(x[0], {{0, 1}, {2, 0}});
           }},
          {"both sides",
           {x},
           [](Inputs x) {
             return pad(x[0], {{1, 1}, {1, 2}}, -1.5);
           }},
          {"no side",
           {x},
           [](Inputs x) {
             return pad(x[0], {{0, 0}, {0, 0}});
           }},
          {"of a view",
           {x},
           [](Inputs x) {
             return pad(transpose(x[0]), {{1, 0}, {0, 1}});
           }},
          {"scalar", {sample_input({})}, [](Inputs x) { return pad(x[0], {}); }},
          {"empty",
           {sample_input({0, 2})},
           [](Inputs x) {
             return pad(x[0], {{1, 1}, {0, 1}}, 3);
           }},
          {"to an empty one",
           {sample_input({0, 2})},
           [](Inputs x) {
             return pad(x[0], {{0, 0}, {1, 1}});
           }},
          {"with steps",
           {x},
           [](Inputs x) {
             return pad_strided(x[0], {4, 8}, {1, 1}, {2, 3});
           }},
          {"more than a tile",
           {sample_input({60, 300})},
           [](Inputs x) {
             return pad(x[0], {{1, 2}, {3, 4}});
           },
           {},
           false},
          invalid(
              "pairs", {x},
              [](Inputs x) {
                return pad(x[0], {{1, 1}});
              },
              "pad: expected a pair of counts for each axis of f64[2,3]; got 1"),
          invalid(
              "a negative count", {x},
              [](Inputs x) {
                return pad(x[0], {{0, 0}, {2, -1}});
              },
              "pad: counts must not be negative; got 2 and -1 for axis 1"),
          invalid(
              "overflow", {x},
              [](Inputs x) {
                return pad(x[0], {{most, 0}, {0, 0}});
              },
              "pad: axis 0 would have more than 2^63 elements")};
}

std::vector<Sample> ToDevice::samples() {
  const auto through = [](Device d) {
    return [d](Inputs x) { return record(ToDevice{x[0].device()}, {record(ToDevice{d}, {x[0]})}); };
  };
  std::vector<Sample> samples{{"to the CPU", {sample_input({3, 4})}, through(Device::cpu())},
                              {"empty", {sample_input({0, 3})}, through(Device::cpu())},
                              invalid(
                                  "undefined", {Tensor()}, [](Inputs x) { return record(ToDevice{}, x); },
                                  "to_device: its tensors are undefined")};
  if (cuda_available()) samples.push_back({"to a GPU", {sample_input({3, 4})}, through(Device::cuda())});
  return samples;
}

}  // namespace bobbin
