// Gradients of slices of one tensor, which a backward pass joins, or adds to their elements.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "tests/autograd/devices.h"

using namespace bobbin;
using tests::devices;

namespace {

// The sum of weighted slices, where each element of x has the weight of its place and of each slice that has
// it.
struct Case {
  const char* name;
  std::vector<std::array<std::int64_t, 4>> slices;  // axis, start, stop, step
  bool whole = false;                               // x is used by itself, too
};
const std::vector<Case> cases{
    {"all, in order", {{0, 0, 2, 1}, {0, 2, 3, 1}, {0, 3, 6, 1}}},
    {"all, from the end", {{1, 3, 5, 1}, {1, 1, 3, 1}, {1, 0, 1, 1}}},
    {"with a gap", {{0, 0, 2, 1}, {0, 3, 6, 1}}},
    {"overlapping", {{0, 0, 4, 1}, {0, 2, 6, 1}}},
    {"twice the same", {{0, 0, 3, 1}, {0, 0, 3, 1}, {0, 3, 6, 1}, {0, 3, 6, 1}}},
    {"of two axes", {{0, 0, 3, 1}, {1, 2, 5, 1}}},
    {"with steps", {{0, 0, 6, 2}, {0, 1, 6, 2}}},
    {"one", {{1, 4, 5, 1}}},
    {"an empty one", {{0, 2, 2, 1}, {0, 0, 6, 1}}},
    {"and the whole", {{0, 0, 2, 1}, {0, 2, 6, 1}}, true},
};

TEST(SliceGradients, TheirGradientsAreAddedUp) {
  for (const Device d : devices())
    for (const DType t : {DType::f64, DType::f32, DType::bf16})
      for (const auto& [name, slices, whole] : cases)
        for (const bool strided : {false, true}) {
          SCOPED_TRACE(testing::Message() << name << ", " << t << (strided ? ", strided" : ""));
          const Tensor x = to(randn({6, 5}, t), d).set_requires_grad();
          Tensor y = zeros({}, t, d);
          std::vector<double> want(30, whole ? 1 : 0);
          if (whole) y = y + sum(x);
          double weight = 1;
          for (const auto& [axis, start, stop, step] : slices) {
            weight *= 2;  // all sums are exact in bf16
            const Tensor part = slice(x, static_cast<int>(axis), start, stop, step);
            const Tensor g = full(part.shape(), weight, t, d);
            y = y + sum(strided ? transpose(part) * transpose(g) : part * g);
            for (std::int64_t i = 0; i < 6; ++i)
              for (std::int64_t j = 0; j < 5; ++j)
                if (const auto k = axis == 0 ? i : j; k >= start && k < stop && (k - start) % step == 0)
                  want[static_cast<std::size_t>(i * 5 + j)] += weight;
          }
          backward(y, Retain::yes);
          const Tensor first = x.grad();
          EXPECT_EQ(to(first, Device::cpu()).to_vector<double>(), want);
          // A recorded derivative goes another way; a second pass adds to the first.
          EXPECT_EQ(to(grad(y, {x}, {}, CreateGraph::yes)[0].detach(), Device::cpu()).to_vector<double>(),
                    want);
          backward(y);
          for (double& w : want) w *= 2;
          EXPECT_EQ(to(x.grad(), Device::cpu()).to_vector<double>(), want);
        }
}

// Adding to elements in place must not touch a tensor that somebody else has.
TEST(SliceGradients, OtherTensorsStayAsTheyAre) {
  const Tensor x = randn({4}, DType::f64).set_requires_grad();
  const Tensor cotangent = ones({4}, DType::f64);
  Tensor y = x * 1;
  y.retain_grad();
  const Tensor z = concat({slice(y, 0, 0, 1), slice(y, 0, 2, 4)}, 0);
  backward(sum(y * cotangent) + sum(z * 3));
  EXPECT_EQ(cotangent.to_vector<double>(), std::vector<double>(4, 1));
  EXPECT_EQ(y.grad().to_vector<double>(), (std::vector<double>{4, 1, 4, 4}));
  EXPECT_EQ(x.grad().to_vector<double>(), (std::vector<double>{4, 1, 4, 4}));
}

// The gradients of a sequence's steps are joined once: no step makes a tensor as long as the sequence.
TEST(SliceGradients, OfASequenceAreJoinedOnce) {
  const Tensor x = randn({20, 5}).set_requires_grad();
  Tensor y = zeros({});
  for (std::int64_t i = 0; i < 20; ++i) y = y + sum(square(select(x, 0, i)));
  const Profiler profiler;
  backward(y);
  std::map<std::string, int> calls;
  for (const auto& e : profiler.events()) ++calls[e.name];
  EXPECT_EQ(calls["concat"], 1);
  EXPECT_EQ(calls["pad"], 0);
  EXPECT_EQ(x.grad().to_vector<float>(), (2 * x).detach().to_vector<float>());
}

}  // namespace
