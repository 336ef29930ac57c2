// The calls that the tests and the gradient checker make of picking and adding by index.
#include "ops/samples.h"

#include <bobbin/elementwise.h>
#include <bobbin/view.h>

#include "ops/index/index.h"

namespace bobbin {
namespace {

Tensor indices(const Nested& values) { return tensor(values, DType::i64); }
// Positive addends: where terms cancel, 16-bit results differ from f64 by more than the tolerance.
Tensor addends(const Shape& shape) { return sample_input(shape, 0.5, 2); }

}  // namespace

std::vector<Sample> IndexSelect::samples() {
  const Tensor x = sample_input({3, 4}), cube = sample_input({2, 3, 2}), none = zeros({0}, DType::i64);
  const auto along = [](int axis) { return [axis](Inputs x) { return index_select(x[0], axis, x[1]); }; };
  const auto embed = [](Inputs x) { return embedding(x[0], x[1]); };
  return {{"axis 0", {x, indices({2, 0})}, along(0)},
          {"axis 1", {x, indices({3, 1, 1})}, along(1)},
          {"middle axis", {cube, indices({2, 2, 0, 1})}, along(1)},
          {"negative axis", {cube, indices({1})}, along(-1)},
          {"repeated", {x, indices({1, 1, 0, 1})}, along(0)},
          {"strided x and index",
           {x, indices({{1, 9}, {0, 9}})},
           [](Inputs x) { return index_select(transpose(x[0]), 0, select(x[1], 1, 0)); }},
          {"strided rows",
           {cube, indices({1, 0, 1})},
           [](Inputs x) {
             return index_select(permute(x[0], {0, 2, 1}), 0, x[1]);
           }},
          {"of one element", {sample_input({1}), indices({0, 0})}, along(0)},
          {"no index", {x, none}, along(0)},
          {"of empty rows", {sample_input({3, 0}), indices({2, 0})}, along(0)},
          {"of nothing", {sample_input({0, 3}), none}, along(0)},
          {"more than a tile", {sample_input({40, 300}), randint(0, 40, {90})}, along(0), {}, false},
          {"embedding", {sample_input({5, 3}), indices({{0, 4}, {2, 4}})}, embed},
          {"embedding of one index", {sample_input({5, 3}), tensor(3, DType::i64)}, embed},
          {"embedding of none", {sample_input({5, 3}), zeros({2, 0}, DType::i64)}, embed},
          invalid("index past the end", {x, indices({0, 2, 3})}, along(0),
                  "index_select: index 3 at flat position 2 is outside [0,3)"),
          invalid("negative index", {x, indices({-1, 2})}, along(1),
                  "index_select: index -1 at flat position 0 is outside [0,4)"),
          invalid("index into nothing", {sample_input({0, 3}), indices({0})}, along(0),
                  "index_select: index 0 at flat position 0 is outside [0,0)"),
          invalid("index dtype", {x, zeros({2}, DType::i32)}, along(0),
                  "index_select: expected i64 indices; got i32[2]"),
          invalid("index rank", {x, indices({{0}})}, along(0),
                  "index_select: expected a 1-dimensional index; got i64[1,1]"),
          invalid("axis", {x, none}, along(2), "index_select: axis 2 is out of range for 2 dimensions"),
          invalid("embedding rank", {cube, indices({0})}, embed,
                  "embedding: expected a weight of 2 dimensions; got f64[2,3,2]"),
          invalid("embedding dtype", {x, x}, embed, "embedding: expected i64 indices; got f64[3,4]")};
}

std::vector<Sample> IndexAdd::samples() {
  const Tensor x = addends({3, 4}), none = zeros({0}, DType::i64);
  const auto along = [](int axis) { return [axis](Inputs x) { return index_add(x[0], axis, x[1], x[2]); }; };
  return {
      {"axis 0", {x, indices({2, 0}), addends({2, 4})}, along(0)},
      {"axis 1", {x, indices({3, 1}), addends({3, 2})}, along(1)},
      {"middle axis", {addends({2, 2, 2}), indices({1, 1, 0}), addends({2, 3, 2})}, along(1)},
      {"negative axis", {x, indices({3}), addends({3, 1})}, along(-1)},
      {"repeated", {x, indices({1, 1, 1}), addends({3, 4})}, along(0)},
      {"of views",
       {x, indices({2, 9, 2}), addends({2, 4})},
       [](Inputs x) { return index_add(transpose(x[0]), 1, slice(x[1], 0, 0, 3, 2), transpose(x[2])); }},
      {"of one element", {addends({1}), indices({0, 0}), addends({2})}, along(0)},
      {"no index", {x, none, addends({0, 4})}, along(0)},
      {"to nothing", {addends({0, 3}), none, addends({0, 3})}, along(0)},
      {"more than a tile", {addends({4, 300}), randint(0, 4, {90}), addends({90, 300})}, along(0), {}, false},
      invalid("index past the end", {x, indices({0, 4}), addends({3, 2})}, along(1),
              "index_add: index 4 at flat position 1 is outside [0,4)"),
      invalid("negative index", {x, indices({-2}), addends({1, 4})}, along(0),
              "index_add: index -2 at flat position 0 is outside [0,3)"),
      invalid("index dtype", {x, x, x}, along(0), "index_add: expected i64 indices; got f64[3,4]"),
      invalid("index rank", {x, indices({{0}}), x}, along(0),
              "index_add: expected a 1-dimensional index; got i64[1,1]"),
      invalid("axis", {x, none, x}, along(-3), "index_add: axis -3 is out of range for 2 dimensions"),
      invalid("source shape", {x, indices({0, 1}), x}, along(0),
              "index_add: expected a source of shape [2,4]; got f64[3,4]"),
      invalid("source dtype", {x, indices({0}), zeros({1, 4}, DType::i64)}, along(0),
              "index_add: dtypes must agree; got f64[3,4] and i64[1,4]; convert one with to(x, DType)"),
      invalid("bool", {zeros({2}, DType::boolean), indices({0}), zeros({1}, DType::boolean)}, along(0),
              "index_add: expected numbers; got bool[2]; convert it with to(x, DType)")};
}

std::vector<Sample> Gather::samples() {
  const Tensor x = sample_input({3, 4}), cube = sample_input({2, 3, 2});
  const auto along = [](int axis) { return [axis](Inputs x) { return gather(x[0], axis, x[1]); }; };
  return {{"one of each row", {x, indices({{3}, {0}, {2}})}, along(1)},
          {"axis 0", {x, indices({{2, 0, 1, 2}, {0, 0, 2, 2}})}, along(0)},
          {"fewer rows", {x, indices({{3, 1, 3}, {0, 0, 2}})}, along(-1)},
          {"middle axis", {cube, indices({{{2, 1}, {0, 1}, {2, 2}, {1, 0}}})}, along(1)},
          {"of views",
           {x, indices({{2, 0, 1}, {1, 0, 1}})},
           [](Inputs x) { return gather(transpose(x[0]), 1, transpose(x[1])); }},
          {"vector", {sample_input({4}), indices({3, 3, 0, 1, 2, 3})}, along(0)},
          {"of one element", {sample_input({1, 1}), indices({{0, 0}})}, along(1)},
          {"no index", {x, zeros({3, 0}, DType::i64)}, along(1)},
          {"of nothing", {sample_input({0, 4}), zeros({0, 2}, DType::i64)}, along(0)},
          {"more than a tile", {sample_input({30, 200}), randint(0, 30, {130, 190})}, along(0), {}, false},
          invalid("index past the end", {sample_input({5}), indices({0, 1, 4, 7})}, along(0),
                  "gather: index 7 at flat position 3 is outside [0,5)"),
          invalid("negative index", {x, indices({{0, 1}, {-1, 0}})}, along(1),
                  "gather: index -1 at flat position 2 is outside [0,4)"),
          invalid("index dtype", {x, x}, along(0), "gather: expected i64 indices; got f64[3,4]"),
          invalid("index rank", {x, indices({0})}, along(0),
                  "gather: the index must have x's rank and be no larger than x but on axis 0; got f64[3,4] "
                  "and i64[1]"),
          invalid("index size", {x, zeros({4, 1}, DType::i64)}, along(1),
                  "gather: the index must have x's rank and be no larger than x but on axis 1; got f64[3,4] "
                  "and i64[4,1]"),
          invalid("axis", {sample_input({}), tensor(0, DType::i64)}, along(0),
                  "gather: axis 0 is out of range for 0 dimensions")};
}

std::vector<Sample> ScatterAdd::samples() {
  const Tensor x = addends({3, 4});
  const auto along = [](int axis) {
    return [axis](Inputs x) { return scatter_add(x[0], axis, x[1], x[2]); };
  };
  return {
      {"one of each row", {x, indices({{3}, {0}, {2}}), addends({3, 1})}, along(1)},
      {"axis 0", {x, indices({{2, 0, 1, 2}, {0, 0, 1, 2}}), addends({2, 4})}, along(0)},
      {"fewer rows", {x, indices({{3, 1, 3}, {0, 0, 0}}), addends({2, 3})}, along(-1)},
      {"middle axis",
       {addends({2, 2, 2}), indices({{{1, 1}, {0, 1}, {1, 0}}}), addends({1, 3, 2})},
       along(1)},
      {"of views",
       {x, indices({{2, 0, 1}, {2, 0, 1}}), addends({2, 3})},
       [](Inputs x) { return scatter_add(transpose(x[0]), 1, transpose(x[1]), transpose(x[2])); }},
      {"of one element", {addends({1}), indices({0, 0, 0}), addends({3})}, along(0)},
      {"no index", {x, zeros({3, 0}, DType::i64), addends({3, 0})}, along(1)},
      {"to nothing", {addends({0, 4}), zeros({0, 2}, DType::i64), addends({0, 2})}, along(0)},
      {"more than a tile",
       {addends({30, 200}), randint(0, 30, {130, 190}), addends({130, 190})},
       along(0),
       {},
       false},
      invalid("index past the end", {x, indices({{0}, {4}}), addends({2, 1})}, along(1),
              "scatter_add: index 4 at flat position 1 is outside [0,4)"),
      invalid("negative index", {x, indices({{-7}}), addends({1, 1})}, along(0),
              "scatter_add: index -7 at flat position 0 is outside [0,3)"),
      invalid("index dtype", {x, x, x}, along(0), "scatter_add: expected i64 indices; got f64[3,4]"),
      invalid(
          "index size", {x, zeros({3, 5}, DType::i64), addends({3, 5})}, along(0),
          "scatter_add: the index must have x's rank and be no larger than x but on axis 0; got f64[3,4] and "
          "i64[3,5]"),
      invalid("axis", {x, x, x}, along(2), "scatter_add: axis 2 is out of range for 2 dimensions"),
      invalid("source shape", {x, zeros({3, 1}, DType::i64), x}, along(1),
              "scatter_add: index and source must agree in shape; got i64[3,1] and f64[3,4]"),
      invalid("source dtype", {x, zeros({1, 1}, DType::i64), zeros({1, 1}, DType::f32)}, along(1),
              "scatter_add: dtypes must agree; got f64[3,4] and f32[1,1]; convert one with to(x, DType)"),
      invalid("bool", {zeros({2}, DType::boolean), indices({0}), zeros({1}, DType::boolean)}, along(0),
              "scatter_add: expected numbers; got bool[2]; convert it with to(x, DType)")};
}

std::vector<Sample> OneHot::samples() {
  const auto call = [](std::int64_t classes, DType d) {
    return [=](Inputs x) { return one_hot(x[0], classes, d); };
  };
  return {
      {"vector", {indices({2, 0, 2, 1})}, call(4, DType::i64)},
      {"matrix of floats", {indices({{2, 0}, {1, 1}})}, call(3, DType::f32)},
      {"16 bits", {indices({2, 0})}, call(3, DType::bf16)},
      {"bool", {indices({2, 0})}, call(3, DType::boolean)},
      {"of a view", {indices({{2, 0}, {1, 1}})}, [](Inputs x) { return one_hot(transpose(x[0]), 3); }},
      {"scalar", {tensor(1, DType::i64)}, call(2, DType::f64)},
      {"one class", {indices({0, 0})}, call(1, DType::i64)},
      {"empty", {zeros({2, 0}, DType::i64)}, call(3, DType::i64)},
      {"more than a tile", {randint(0, 10, {3000})}, call(10, DType::f32)},
      invalid("index past the end", {indices({0, 3})}, call(3, DType::i64),
              "one_hot: index 3 at flat position 1 is outside [0,3)"),
      invalid("negative index", {indices({-1})}, call(3, DType::i64),
              "one_hot: index -1 at flat position 0 is outside [0,3)"),
      invalid("index dtype", {sample_input({2})}, call(3, DType::i64),
              "one_hot: expected i64 indices; got f64[2]"),
      invalid("classes", {indices({0})}, call(0, DType::i64), "one_hot: expected at least 1 class; got 0")};
}

}  // namespace bobbin
