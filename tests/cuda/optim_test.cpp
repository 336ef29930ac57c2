// Optimizers on a GPU against those on the CPU.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/autograd/optim_kinds.h"
#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaOptimizer = SeededCuda<41, false>;

const Device cpu = Device::cpu();

using Tensors = std::vector<Tensor>;
// Muon, which composes operations, is in OptimizerEdges of autograd_test.
std::vector<tests::OptimizerKind> kinds() {
  auto all = tests::optimizer_kinds();
  std::erase_if(all, [](auto& kind) { return kind.matrices; });
  return all;
}

Tensors leaves(const Tensors& xs, Device d) {
  Tensors out;
  for (auto& x : xs) out.push_back(clone(to(x, d)).detach().set_requires_grad());
  return out;
}

void expect_close(const Tensors& got, const Tensors& want) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double tolerance = got[i].dtype() == DType::f64 ? 1e-14 : 1e-6;
    const auto x = to(got[i].detach(), cpu).to_vector<double>(), y = want[i].to_vector<double>();
    ASSERT_EQ(x.size(), y.size());
    for (std::size_t k = 0; k < x.size(); ++k)
      ASSERT_NEAR(x[k], y[k], tolerance * std::max(1.0, std::abs(y[k]))) << "parameter " << i << " at " << k;
  }
}

// 100 parameters: more than one launch updates, of both dtypes in turns of ten, shorter and longer than the
// range of a block.
Tensors many_parameters() {
  Tensors out;
  for (std::int64_t i = 0; i < 100; ++i)
    out.push_back(randn({i == 50 ? 0 : 1 + i * i * 7 % 5003}, i / 10 % 2 ? DType::f64 : DType::f32));
  return out;
}

TEST_F(CudaOptimizer, TenStepsAreTheCpus) {
  for (auto& [name, make, matrices] : kinds()) {
    SCOPED_TRACE(name);
    const Tensors start = many_parameters();
    Tensors here = leaves(start, cpu), there = leaves(start, gpu);
    const auto a = make(here), b = make(there);
    for (int step = 0; step < 10; ++step) {
      a->lr = b->lr = .1 / (1 + step);
      for (std::size_t i = 0; i < here.size(); ++i) {
        if (i == 7) continue;  // without a gradient
        const Tensor g = randn(here[i].shape(), here[i].dtype());
        here[i].set_grad(g);
        there[i].set_grad(to(g, gpu));
      }
      a->step();
      b->step();
    }
    expect_close(there, here);
    EXPECT_EQ(there[7].to_vector<float>(), start[7].to_vector<float>());
  }
}

TEST_F(CudaOptimizer, EditsAMisalignedParameterAndNothingBesideIt) {
  for (auto& [name, make, matrices] : kinds()) {
    SCOPED_TRACE(name);
    const Tensor start = randn({5000}), around = clone(to(start, gpu));
    Tensor here = clone(narrow(start, 0, 1, 4990)).set_requires_grad(),
           there = narrow(around, 0, 1, 4990).set_requires_grad();
    const Tensor g = randn({4990});
    here.set_grad(g);
    there.set_grad(to(g, gpu));
    make({here})->step();
    make({there})->step();
    expect_close({there}, {here});
    EXPECT_EQ(narrow(around, 0, 0, 1).item(), start.at({0}));
    EXPECT_EQ(narrow(around, 0, 4991, 9).to_vector<float>(), narrow(start, 0, 4991, 9).to_vector<float>());
  }
}

TEST_F(CudaOptimizer, TakesParametersOfBothDevices) {
  const Tensor start = randn({100});
  Tensors p = leaves({start}, gpu), q = leaves({start}, cpu);
  p[0].set_grad(ones({100}, DType::f32, gpu));
  q[0].set_grad(ones({100}));
  optim::Adam({p[0], q[0]}).step();
  expect_close(p, q);
}

TEST_F(CudaOptimizer, CountsOneEditAndDoesNotWait) {
  for (auto& [name, make, matrices] : kinds()) {
    Tensors p = leaves({randn({300}), randn({4, 5}), randn({0})}, gpu);
    for (auto& x : p) x.set_grad(ones_like(x));
    const auto optimizer = make(p);
    std::vector<std::uint64_t> versions;
    for (auto& x : p) versions.push_back(x.version());
    const auto waits = synchronizations();
    optimizer->step();
    EXPECT_EQ(synchronizations(), waits) << name;
    for (std::size_t i = 0; i < p.size(); ++i) EXPECT_EQ(p[i].version(), versions[i] + 1) << name;
  }
}

TEST_F(CudaOptimizer, ReadsAStridedGradient) {
  Tensor p = tensor({{1, 2}, {3, 4}}, DType::f32, gpu).set_requires_grad();
  p.set_grad(transpose(tensor({{1, 2}, {3, 4}}, DType::f32, gpu)));
  optim::Sgd sgd({p}, {.lr = 1});
  sgd.step();
  EXPECT_EQ(p.to_vector<float>(), (std::vector<float>{0, -1, 1, 0}));
}

// A captured step follows lr and, in Adam, the number of steps, to the bit.
TEST_F(CudaOptimizer, CapturedStepsAreEagerSteps) {
  for (auto& [name, make, matrices] : kinds()) {
    const Tensors start{randn({3000}), randn({17})};
    Tensors eager = leaves(start, gpu), captured = leaves(start, gpu);
    for (std::size_t i = 0; i < start.size(); ++i) {
      const Tensor g = randn(start[i].shape(), DType::f32, gpu);
      eager[i].set_grad(g);
      captured[i].set_grad(g);
    }
    const auto a = make(eager), b = make(captured);
    auto step = capture([&] { b->step(); });
    for (int i = 0; i < 8; ++i) {
      a->lr = b->lr = .1 / (1 + i);
      a->step();
      step();
    }
    EXPECT_TRUE(step.replays());
    for (std::size_t i = 0; i < start.size(); ++i)
      EXPECT_EQ(captured[i].to_vector<float>(), eager[i].to_vector<float>()) << name;
  }
}

// `late` gets its first gradient after five steps of the others.
TEST_F(CudaOptimizer, CapturedStepsFollowTheCountOfEachParameter) {
  for (auto& [name, make, matrices] : kinds()) {
    SCOPED_TRACE(name);
    const Tensors start{randn({300}), randn({17}), randn({40})};
    Tensors eager = leaves(start, gpu), captured = leaves(start, gpu);
    const auto a = make(eager), b = make(captured);
    const auto give = [&](std::size_t i) {
      const Tensor g = randn(start[i].shape(), DType::f32, gpu);
      eager[i].set_grad(g), captured[i].set_grad(g);
    };
    const auto expect_equal = [&] {
      for (std::size_t i = 0; i < start.size(); ++i)
        EXPECT_EQ(captured[i].to_vector<float>(), eager[i].to_vector<float>()) << i;
    };
    give(0), give(1);
    for (int i = 0; i < 5; ++i) a->step(), b->step();
    give(2);
    auto step = capture([&] { b->step(); });
    for (int i = 0; i < 6; ++i) a->step(), step();
    EXPECT_TRUE(step.replays());
    expect_equal();
    step(3);
    for (int i = 0; i < 3; ++i) a->step();
    expect_equal();

    // A step of one parameter parts the counts of two that the captured step updates together.
    const auto state = b->state_dict();
    StateDict before;
    for (auto& [key, t] : state) before.emplace(key, clone(t));
    const Tensor g = captured[1].grad();
    captured[1].set_grad({}), eager[1].set_grad({});
    a->step(), b->step();
    captured[1].set_grad(g), eager[1].set_grad(g);
    if (!state.contains("step.0")) continue;
    const auto steps = b->state_dict().at("step").item<std::int64_t>();
    EXPECT_THROW(step(), Error);
    EXPECT_THROW(step(2), Error);
    EXPECT_EQ(b->state_dict().at("step").item<std::int64_t>(), steps);
    expect_equal();
    auto again = capture([&] { b->step(); });
    for (int i = 0; i < 4; ++i) a->step(), again();
    expect_equal();
  }
}

// A step that throws, while it is captured or replayed, leaves the counts as they were.
TEST_F(CudaOptimizer, CapturedStepsThatThrowDoNotCount) {
  for (auto& [name, make, matrices] : kinds()) {
    SCOPED_TRACE(name);
    const Tensor start = randn({300});
    Tensors eager = leaves({start}, gpu), captured = leaves({start}, gpu);
    const auto a = make(eager), b = make(captured);
    const Tensor g = randn({300}, DType::f32, gpu);
    eager[0].set_grad(g), captured[0].set_grad(g);
    bool waits = false;
    auto step = capture([&] {
      const Tensor noise = randn({4}, DType::f32, gpu);
      b->step();
      if (waits) noise.to_vector<float>();
    });
    const auto draws = [] { return default_generator().draws; };
    step(), a->step();
    waits = true;
    const auto before = draws();
    EXPECT_THROW(step(), Error);  // a copy to the host cannot be captured
    EXPECT_EQ(draws(), before);
    waits = false;
    for (int i = 0; i < 3; ++i) step(), a->step();
    EXPECT_TRUE(step.replays());
    const auto later = draws();
    const double rate = b->lr;
    b->lr = -1;
    EXPECT_THROW(step(), ValueError);
    EXPECT_THROW(step(3), ValueError);
    EXPECT_EQ(draws(), later);
    b->lr = rate;
    step(2), a->step(), a->step();
    EXPECT_EQ(captured[0].to_vector<float>(), eager[0].to_vector<float>());
  }
}

// A state that was copied to the host and given to new objects.
TEST_F(CudaOptimizer, ResumesWhereItStopped) {
  for (auto& [name, make, matrices] : kinds()) {
    SCOPED_TRACE(name);
    const Tensors start{randn({300}), randn({17}, DType::f64)};
    Tensors whole = leaves(start, gpu), first = leaves(start, gpu);
    const auto a = make(whole), b = make(first);
    const auto train = [](optim::Optimizer& o, const Tensors& p, int from, int to) {
      for (int i = from; i < to; ++i) {
        for (std::size_t k = 0; k < p.size(); ++k)
          if (k == 0 || i > 2) Tensor(p[k]).set_grad(p[k].detach() * (1 + i) + .5);
        o.step();
      }
    };
    train(*a, whole, 0, 20), train(*b, first, 0, 10);
    StateDict saved;
    for (auto& [key, t] : b->state_dict()) saved.emplace(key, clone(to(t, cpu)));
    Tensors second = leaves(first, gpu);
    const auto c = make(second);
    c->load_state_dict(saved);
    train(*c, second, 10, 20);
    for (std::size_t k = 0; k < whole.size(); ++k)
      EXPECT_EQ(second[k].to_vector<double>(), whole[k].to_vector<double>()) << k;
  }
}

// More tensors than one launch takes, empty, misaligned, longer and shorter than the range of a block.
TEST_F(CudaOptimizer, TheNormOfManyGradients) {
  for (const double scale : {1., 1e30, 1e-30}) {
    Tensors here, there;
    double squares = 0;
    for (std::int64_t i = 0; i < 450; ++i) {
      const DType t = i % 7 == 3 ? DType::f64 : DType::f32;
      const Tensor g = (randn({i == 50 ? 0 : 2 + i * i * 7 % 40009}, DType::f64) * scale);
      const Tensor rounded = to(to(g, t), DType::f64);
      double own = 0;  // a sum of 9 million terms in one variable would lose digits
      for (const double x : rounded.to_vector<double>()) own += x / scale * (x / scale);
      squares += own;
      Tensor p = zeros({g.numel()}, t, gpu).set_requires_grad();
      Tensor room = zeros({g.numel() + 1}, t, gpu), at = narrow(room, 0, i % 2, g.numel());
      at.copy_(to(to(rounded, t), gpu));
      p.set_grad(at);
      there.push_back(p);
    }
    const double total = optim::clip_grad_norm(there, 1e300).item();
    EXPECT_NEAR(total / (std::sqrt(squares) * scale), 1, 1e-13) << scale;
    EXPECT_EQ(optim::clip_grad_norm(there, 1e300).item(), total);
    Tensor bad = there[448].grad();
    narrow(bad, 0, bad.numel() - 1, 1).fill_(NAN);
    EXPECT_TRUE(std::isnan(optim::clip_grad_norm(there, 1).item()));
  }
}

TEST_F(CudaOptimizer, CapturedStepsWithAMaxNormAreEagerSteps) {
  for (auto& [name, make, matrices] : kinds()) {
    const Tensors start{randn({3000}), randn({17}), randn({9}, DType::f64)};
    Tensors eager = leaves(start, gpu), captured = leaves(start, gpu);
    const auto a = make(eager), b = make(captured);
    a->max_norm = b->max_norm = 2;
    const auto give = [&](Tensors& p, double factor) {
      for (std::size_t i = 0; i < p.size(); ++i) p[i].set_grad(to(start[i], gpu) * factor);
    };
    give(captured, 1);
    const auto waits = synchronizations();
    b->step();
    EXPECT_EQ(synchronizations(), waits) << name;
    auto step = capture([&] { b->step(); });
    give(eager, 1);
    a->step();
    for (int i = 0; i < 6; ++i) {
      for (std::size_t k = 0; k < start.size(); ++k)
        captured[k].grad().copy_(to(start[k], gpu) * (i % 2 ? 1e-3 : 10.));
      give(eager, i % 2 ? 1e-3 : 10.);
      a->step();
      step();
    }
    EXPECT_TRUE(step.replays());
    for (std::size_t i = 0; i < start.size(); ++i)
      EXPECT_EQ(captured[i].to_vector<double>(), eager[i].to_vector<double>()) << name;
  }
}

// Clipping, a step and an average in one graph.
TEST_F(CudaOptimizer, CapturedClipsAndAveragesAreEagerOnes) {
  const auto train = [](bool capturing) {
    manual_seed(8);
    Tensors p = leaves({randn({3000}), randn({17}), randn({5}, DType::f64)}, gpu);
    optim::Adam adam(p, {.lr = .01});
    optim::Ema ema(p, .9);
    Tensor norm = zeros({}, DType::f64, gpu);
    Tensors given;
    for (auto& x : p) given.push_back(zeros_like(x));
    const auto step = [&] {
      for (std::size_t i = 0; i < p.size(); ++i) p[i].set_grad(clone(given[i]));
      norm.copy_(optim::clip_grad_norm(adam.parameters(), 1));
      optim::clip_grad_value(adam.parameters(), .1);
      adam.step();
      ema.update();
    };
    auto captured = capture(step);
    std::vector<double> all;
    const auto add = [&](const Tensor& t) {
      const auto v = t.detach().to_vector<double>();
      all.insert(all.end(), v.begin(), v.end());
    };
    for (const double scale : {1e-4, 1., 1e37, 3e-6, 2.}) {
      for (auto& g : given) g.copy_(randn(g.shape(), g.dtype(), gpu) * scale);
      capturing ? captured() : step();
      add(norm);
      for (auto& x : p) add(x);
      for (auto& x : ema.averages()) add(x);
    }
    EXPECT_EQ(captured.replays(), capturing);
    return all;
  };
  EXPECT_EQ(train(true), train(false));
}

}  // namespace
