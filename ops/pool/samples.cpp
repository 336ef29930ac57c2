// Samples of poolings.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

#include <limits>

#include "ops/pool/pool.h"

namespace bobbin {

namespace {

// Distinct numbers in a random order, so that each maximum is unique.
Tensor distinct(const Shape& shape) {
  return to(reshape(randperm(numel(shape)), shape), DType::f64) * 0.5 - 3;
}

Sample invalid_windows(std::string_view op, Tensor (*f)(const Tensor&, Pair, const PoolOptions&)) {
  return invalid(
      "window", {sample_input({1, 1, 2, 3})}, [f](Inputs x) { return f(x[0], 3, {}); },
      std::string(op) + ": windows of 3 x 3 do not fit images [1,1,2,3]");
}

std::vector<Sample> pool_samples(std::string_view op, Tensor (*f)(const Tensor&, Pair, const PoolOptions&)) {
  const auto with = [f](Pair window, PoolOptions o = {}) {
    return [=](Inputs x) { return f(x[0], window, o); };
  };
  return {
      batch({"2x2", {distinct({2, 2, 4, 5})}, with(2)}),
      {"overlapping, padded", {distinct({1, 2, 4, 5})}, with({3, 2}, {.stride = {{2, 1}}, .padding = 1})},
      {"a window wider than the image",
       {distinct({1, 1, 2, 1})},
       with({2, 3}, {.stride = 2, .padding = {0, 1}})},
      {"gaps", {distinct({1, 1, 5, 7})}, with({1, 2}, {.stride = 3})},
      {"one pixel", {distinct({1, 1, 1, 1})}, with(1)},
      {"no images", {sample_input({0, 2, 4, 4})}, with(2)},
      {"many", {distinct({5, 7, 19, 23})}, with(3, {.stride = 2, .padding = 1}), {}, false},
      invalid_windows(op, f),
      invalid("padding", {sample_input({1, 1, 4, 4})}, with(2, {.padding = 2}),
              std::string(op) +
                  ": expected windows and strides of at least 1, and a padding of at most half a window")};
}

}  // namespace

std::vector<Sample> MaxPool2d::samples() {
  auto v = pool_samples(name, max_pool2d);
  constexpr double inf = std::numeric_limits<double>::infinity(),
                   nan = std::numeric_limits<double>::quiet_NaN();
  v.push_back({"special values",
               {tensor({{{{-inf, -inf, nan, 1}, {-inf, -inf, 0, inf}}}}, DType::f64)},
               [](Inputs x) { return max_pool2d(x[0], 2); },
               {},
               false});
  return v;
}

std::vector<Sample> MaxPool2dBackward::samples() {
  const auto call = [](Pool pool, Pair size, Tensor indices) {
    return [=](Inputs x) {
      return record(MaxPool2dBackward{pool, size}, {x[0], to(indices, x[0].device())});
    };
  };
  const Tensor indices = tensor({{{{0, 3}, {8, 15}}}}, DType::i32);
  return {{"2x2", {sample_input({1, 1, 2, 2})}, call({2, 2}, 4, indices)},
          {"the same place twice",
           {sample_input({1, 1, 1, 2})},
           call({{1, 2}, 1}, {1, 3}, tensor({{{{1, 1}}}}, DType::i32))},
          {"nothing", {sample_input({0, 1, 1, 2})}, call({2, 2}, {2, 4}, zeros({0, 1, 1, 2}, DType::i32))},
          invalid("size", {sample_input({1, 1, 2, 2})}, call({2, 2}, 6, indices),
                  "max_pool2d_backward: expected g [1,1,3,3]; got f64[1,1,2,2]")};
}

std::vector<Sample> AvgPool2d::samples() {
  auto v = pool_samples(name, avg_pool2d);
  const auto adaptive = [](Pair size) { return [=](Inputs x) { return adaptive_avg_pool2d(x[0], size); }; };
  v.push_back({"adaptive", {sample_input({1, 2, 5, 7})}, adaptive({2, 3})});
  v.push_back({"adaptive, larger", {sample_input({1, 1, 2, 3})}, adaptive({3, 5})});
  return v;
}

std::vector<Sample> AvgPool2dBackward::samples() {
  const auto call = [](Pool pool, Pair size) {
    return [=](Inputs x) { return record(AvgPool2dBackward{pool, size}, x); };
  };
  return {{"2x2", {sample_input({2, 1, 2, 2})}, call({2, 2}, {4, 5})},
          {"overlapping, padded", {sample_input({1, 1, 2, 3})}, call({3, {2, 1}, 1}, {3, 3})},
          {"adaptive", {sample_input({1, 1, 2, 3})}, call({{2, 3}, 1, 0, true}, {5, 4})},
          {"one pixel", {sample_input({1, 1, 1, 1})}, call({1, 1}, 1)},
          invalid("size", {sample_input({1, 1, 2, 2})}, call({2, 2}, 6),
                  "avg_pool2d_backward: expected g [1,1,3,3]; got f64[1,1,2,2]")};
}

}  // namespace bobbin
