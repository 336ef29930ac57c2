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

}  // namespace
