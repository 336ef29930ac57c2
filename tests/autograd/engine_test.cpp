// backward and grad: results, hooks, retained tapes, errors.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

using namespace bobbin;

namespace {

Tensor leaf(const Nested& v, DType d = DType::f64) { return tensor(v, d).set_requires_grad(); }
std::vector<double> values(const Tensor& t) { return t.to_vector<double>(); }
using V = std::vector<double>;

template<class E, class F>
void expect_throw(F&& f, std::string_view part) {
  try {
    f();
    ADD_FAILURE() << "did not throw";
  } catch (const E& e) {
    EXPECT_NE(std::string_view(e.what()).find(part), std::string_view::npos) << e.what();
  }
}

TEST(Backward, FollowsTheChainRule) {
  const Tensor x = leaf({1, 2, 3}), y = leaf({4, 5, 6});
  backward(sum(x * y + square(x)));
  EXPECT_EQ(values(x.grad()), (V{6, 9, 12}));
  EXPECT_EQ(values(y.grad()), (V{1, 2, 3}));
}

TEST(Backward, AddsToWhatLeavesHold) {
  const Tensor x = leaf({1, 2});
  backward(sum(x * x));
  backward(sum(x * x));
  EXPECT_EQ(values(x.grad()), (V{4, 8}));
}

TEST(Backward, ATensorUsedManyTimesGetsTheSum) {
  const Tensor x = leaf(3);
  Tensor y = x * x;
  y = y + y + x;
  backward(y * y);  // (2x^2 + x)^2
  EXPECT_DOUBLE_EQ(x.grad().item(), 2 * (18 + 3) * (12 + 1));
}

TEST(Backward, BroadcastOperandsGetSums) {
  const Tensor x = leaf({{1, 2, 3}, {4, 5, 6}}), row = leaf({1, 1, 1}), one = leaf(2);
  backward(sum(x * row * one));
  EXPECT_EQ(values(row.grad()), (V{10, 14, 18}));
  EXPECT_EQ(one.grad().item(), 21);
}

TEST(Backward, LeavesOwnTheirGradients) {
  const Tensor a = leaf({1, 2}), b = leaf({3, 4});
  backward(sum(a + b));  // both get the same cotangent
  a.grad().fill_(9);
  EXPECT_EQ(values(b.grad()), (V{1, 1}));
  const Tensor cotangent = tensor({5, 6}, DType::f64), c = leaf({0, 0});
  backward(c, cotangent);
  c.grad().fill_(0);
  EXPECT_EQ(values(cotangent), (V{5, 6}));
}

TEST(Backward, TwiceThrowsAndSaysHowToRetain) {
  const Tensor x = leaf({1, 2}), y = sum(exp(x));
  backward(y);
  expect_throw<GradError>([&] { backward(y); }, "pass Retain::yes");
  const Tensor z = sum(exp(x));
  backward(z, Retain::yes);
  backward(z);
  EXPECT_NEAR(x.grad().at({0}), 3 * std::exp(1.0), 1e-14);
}

TEST(Backward, NamesWhatIsWrongWithTheLoss) {
  expect_throw<GradError>([] { backward(tensor(1)); }, "backward: f32[] needs no gradient");
  expect_throw<ShapeError>([] { backward(leaf({1, 2})); }, "backward: f64[2] is not a single number");
  expect_throw<ShapeError>(
      [] {
        backward(leaf({1, 2}), tensor({1}, DType::f64));
      },
      "a cotangent of f64[2] cannot be f64[1]");
}

struct Broken {  // a user's derivative of the wrong shape
  static constexpr std::string_view name = "broken";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0]); }
  Grads vjp(const Vjp& v) const { return {sum(v.grad)}; }
};

TEST(Backward, AFailedWalkChangesNoGradient) {
  const Tensor x = leaf({1, 2}), w = leaf({1, 1});
  const Tensor y = sum(record(Broken{}, {x}) * w);
  expect_throw<GradError>([&] { backward(y); }, "broken gave f64[] as the gradient of f64[2]");
  EXPECT_FALSE(w.grad());
  EXPECT_FALSE(x.grad());
}

struct Counted {  // a user's derivative with too many or too few gradients
  int gradients = 1;
  static constexpr std::string_view name = "counted";
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0]); }
  Grads vjp(const Vjp& v) const { return Grads(static_cast<std::size_t>(gradients), v.grad); }
};

TEST(Backward, RefusesTooManyAndTooFewGradients) {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4});
  expect_throw<GradError>([&] { backward(sum(record(Counted{3}, {x}))); },
                          "backward: counted gave 3 gradients for 1 inputs");
  expect_throw<GradError>(
      [&] {
        backward(sum(record(Counted{1}, {x, y})));
      },
      "backward: counted gave 1 gradients for 2 inputs");
  expect_throw<GradError>([&] { grad(sum(record(Counted{0}, {x})), {x}); }, "counted gave 0 gradients");
  EXPECT_FALSE(x.grad());
  backward(sum(record(Counted{2}, {x, y})));
  EXPECT_EQ(values(y.grad()), (V{1, 1}));
}

TEST(Backward, AFailedWalkLeavesATapeThatIsRetained) {
  const Tensor x = leaf({1, 2});
  Tensor w = leaf({3, 4});
  const Tensor h = checkpoint([](Inputs in) { return square(in[0]); }, {x}), y = sum(exp(w) * h);
  const int hook = w.register_hook([](const Tensor&) -> Tensor { throw 42; });
  EXPECT_THROW(backward(y, Retain::yes), int);
  EXPECT_FALSE(x.grad());
  w.remove_hook(hook);
  backward(y);
  EXPECT_EQ(values(x.grad()), (V{2 * std::exp(3.0), 4 * std::exp(4.0)}));
  EXPECT_THROW(backward(y), GradError) << "used up";
}

TEST(Grad, GivesHigherOrders) {
  const Tensor x = leaf(2);
  Tensor y = pow(x, 5);
  for (const double expected : {80.0, 160.0, 240.0, 240.0, 120.0}) {
    y = grad(y, {x}, {}, CreateGraph::yes)[0];
    EXPECT_NEAR(y.item(), expected, 1e-12);
  }
  EXPECT_FALSE(x.grad());
}

TEST(Grad, ReachesTensorsInsideTheTape) {
  const Tensor x = leaf({1, 2}), y = x * 3, z = sum(square(y));
  const auto g = grad(z, {y, x}, {}, CreateGraph::no, Retain::yes);
  EXPECT_EQ(values(g[0]), (V{6, 12}));
  EXPECT_EQ(values(g[1]), (V{18, 36}));
}

TEST(Grad, IsZeroWhereNothingDepends) {
  const Tensor x = leaf({1, 2}), other = leaf({3});
  EXPECT_EQ(values(grad(sum(x), {other})[0]), V{0});
  expect_throw<GradError>([&] { grad(sum(x), {tensor(1)}); }, "grad: f32[] does not require a gradient");
}

TEST(NoGrad, RecordsNothing) {
  const Tensor x = leaf({1, 2});
  {
    const NoGrad quiet;
    EXPECT_FALSE((x * 2).requires_grad());
  }
  EXPECT_TRUE((x * 2).requires_grad());
  std::thread([&] { EXPECT_TRUE(grad_enabled()); }).join();
}

TEST(InPlace, EditedSavedTensorThrows) {
  const Tensor x = leaf({1, 2});
  Tensor w = tensor({3, 4}, DType::f64);
  const Tensor y = sum(x * w);
  w.fill_(0);
  expect_throw<GradError>([&] { backward(y); },
                          "mul: an input it saved for its derivative (f64[2]) was edited in place");
}

TEST(InPlace, EditThroughAViewIsSeen) {
  const Tensor x = leaf({1, 2, 3});
  const Tensor w = tensor({3, 4, 5}, DType::f64);
  const Tensor y = sum(x * w);
  select(w, 0, 1).fill_(0);
  EXPECT_THROW(backward(y), GradError);
}

TEST(InPlace, EditedOutputThrows) {
  const Tensor x = leaf({1, 2}), y = exp(x);
  y.detach().fill_(0);
  expect_throw<GradError>([&] { backward(sum(y)); }, "exp: the output it saved");
}

TEST(InPlace, WhatIsNotSavedMayBeEdited) {
  const Tensor x = leaf({1, 2});
  Tensor c = tensor({3, 4}, DType::f64);
  const Tensor y = sum(x + c);
  c.fill_(0);
  backward(y);
  EXPECT_EQ(values(x.grad()), (V{1, 1}));
}

TEST(Hooks, SeeTheCompleteGradientAndMayReplaceIt) {
  const Tensor x = leaf({1, 2});
  Tensor y = x * 2;
  std::vector<V> seen;
  const int first = y.register_hook([&](const Tensor& g) {
    seen.push_back(values(g));
    return Tensor();
  });
  y.register_hook([](const Tensor& g) { return g * 10; });
  backward(sum(y) + sum(y * y), Retain::yes);
  EXPECT_EQ(seen, (std::vector<V>{{5, 9}}));
  EXPECT_EQ(values(x.grad()), (V{100, 180}));
  y.remove_hook(first);
  backward(sum(y));
  EXPECT_EQ(seen.size(), 1u);
}

TEST(Hooks, OfALeafRunOnce) {
  Tensor x = leaf({1, 2});
  int calls = 0;
  x.register_hook([&](const Tensor& g) {
    ++calls;
    return clamp(g, -1, 1);
  });
  backward(sum(x * 5) + sum(x * 7));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(values(x.grad()), (V{1, 1}));
}

TEST(Hooks, MayEditTheListThatIsWalked) {
  Tensor x = leaf({1, 2});
  std::string order;
  int self = 0, third = 0;
  self = x.register_hook([&](const Tensor&) {
    order += 'a';
    x.remove_hook(self);
    x.remove_hook(third);
    for (int i = 0; i < 100; ++i)  // the list moves
      x.register_hook([&](const Tensor&) {
        order += 'n';
        return Tensor();
      });
    return Tensor();
  });
  x.register_hook([&](const Tensor& g) {
    order += 'b';
    return g * 2;
  });
  third = x.register_hook([&](const Tensor& g) {
    order += 'c';
    return g * 100;
  });
  backward(sum(x));
  EXPECT_EQ(order, "ab") << "a removed hook does not run, and a new one runs from the next pass on";
  EXPECT_EQ(values(x.grad()), (V{2, 2}));
  backward(sum(x));
  EXPECT_EQ(order, "abb" + std::string(100, 'n'));
}

TEST(Hooks, MayRemoveAllAndEndTheirTensor) {
  const Tensor x = leaf({1, 2});
  auto y = std::make_unique<Tensor>(x * 3);
  std::vector<int> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(y->register_hook([&, text = std::string(100, 'x')](const Tensor& g) {
      for (const int id : ids) y->remove_hook(id);
      y.reset();
      return g * static_cast<double>(text.size());
    }));
  const Tensor loss = sum(*y);
  backward(loss);
  EXPECT_EQ(values(x.grad()), (V{300, 300}));
}

TEST(Hooks, MayRunAPassThemselves) {
  Tensor x = leaf({1, 2}), y = square(x);
  y.register_hook([&](const Tensor& g) {
    const GradMode recorded(true);
    return (g * grad(sum(exp(x)), {x})[0]).detach();
  });
  backward(sum(y));
  EXPECT_EQ(values(x.grad()), (V{2 * std::exp(1.0), 4 * std::exp(2.0)}));
}

TEST(RetainGrad, KeepsTheGradientOfAnInnerTensor) {
  const Tensor x = leaf({1, 2});
  Tensor y = x * 2;
  y.retain_grad();
  backward(sum(square(y)));
  EXPECT_EQ(values(y.grad()), (V{4, 8}));
}

TEST(Tape, AMillionStepsWalkAndFreeInConstantStack) {
  const Tensor x = leaf(1);
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = -y;
  backward(y);
  EXPECT_EQ(x.grad().item(), 1);
  Tensor unused = x;
  for (int i = 0; i < 200'000; ++i) unused = exp(unused) * 0;  // saved tensors on the way
  unused = Tensor();
}

TEST(Tape, ThreadsBuildAndWalkTheirOwn) {
  std::vector<std::thread> team;
  std::vector<double> results(4);
  for (int t = 0; t < 4; ++t)
    team.emplace_back([t, &results] {
      const Tensor x = leaf(t + 1);
      for (int i = 0; i < 200; ++i) backward(square(x) * x);
      results[static_cast<std::size_t>(t)] = x.grad().item();
    });
  for (auto& t : team) t.join();
  for (int t = 0; t < 4; ++t)
    EXPECT_DOUBLE_EQ(results[static_cast<std::size_t>(t)], 200 * 3.0 * (t + 1) * (t + 1));
}

}  // namespace
