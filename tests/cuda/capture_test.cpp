// Captured steps: the values that a replay reads, the calls that throw in a capture, and the memory of a
// graph.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaCapture = Cuda;

TEST_F(CudaCapture, ReplaysWhatWasRecorded) {
  Tensor x = zeros({3}, DType::f32, gpu);
  Captured step = capture([&] { x.copy_(x * 2 + 1); });
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(step.replays(), i >= 2);
    step();
  }
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{63, 63, 63}));
  x.fill_(0);
  step();
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 1, 1}));
}

TEST_F(CudaCapture, DrawsAnewEachTime) {
  const auto run = [&](bool captured) {
    manual_seed(5);
    Tensor all = zeros({6, 4}, DType::f32, gpu), last = zeros({4}, DType::f32, gpu);
    const auto draw = [&] {
      last.copy_(rand({4}, DType::f32, gpu) + dropout(ones({4}, DType::f32, gpu), 0.5));
    };
    Captured step = capture(draw);
    for (int i = 0; i < 6; ++i) {
      captured ? step() : draw();
      select(all, 0, i).copy_(last);
    }
    EXPECT_EQ(default_generator().draws, 12u);
    return all.to_vector<float>();
  };
  EXPECT_EQ(run(true), run(false));
}

TEST_F(CudaCapture, WaitingInsideThrowsAndNothingIsLost) {
  Tensor x = ones({2}, DType::f32, gpu);
  double seen = 0;
  Captured step = capture([&] {
    x.copy_(x + x);
    seen = x.at({0});
  });
  step();
  EXPECT_EQ(seen, 2);
  EXPECT_NE(
      message_of<Error>([&] { step(); }).find("the host cannot wait for the GPU inside a captured step"),
      std::string::npos);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{2, 2}));
  EXPECT_EQ(sum(x + x).item(), 8);
}

TEST_F(CudaCapture, WorkOfTheCpuInsideThrows) {
  Tensor x = ones({2}, DType::f32, gpu), host = ones({2});
  Captured step = capture([&] {
    x.copy_(x + x);
    host.copy_(host + host);
  });
  step();
  EXPECT_THROW(step(), DeviceError);
  Captured copies = capture([&] { x.copy_(ones({2})); });
  copies();
  EXPECT_THROW(copies(), Error);
}

TEST_F(CudaCapture, ItsMemoryDoesNotMove) {
  Tensor result;
  const Tensor x = rand({1 << 16}, DType::f32, gpu);
  Captured step = capture([&] { result = exp(x) + sin(x) * cos(x); });
  step();
  step();
  const void* there = result.raw();
  const auto expected = result.to_vector<float>();
  std::vector<Tensor> noise;
  for (int i = 0; i < 20; ++i) {
    noise.push_back(rand({1 << 16}, DType::f32, gpu));
    step();
  }
  EXPECT_EQ(result.raw(), there);
  EXPECT_EQ(result.to_vector<float>(), expected);
  for (const Tensor& t : noise) EXPECT_LT(amax(t).item(), 1);
}

TEST_F(CudaCapture, GivesItsMemoryBack) {
  const auto live = [&] { return allocator(gpu).stats().bytes_live; };
  const auto before = live();
  {
    const Tensor x = rand({1 << 20}, DType::f32, gpu);
    Captured step = capture([&] { exp(x) + x; });
    for (int i = 0; i < 3; ++i) step();
  }
  EXPECT_EQ(live(), before);
  Captured moved = capture([] {});
  moved = capture([&] { ones({2}, DType::f32, gpu); });
  for (int i = 0; i < 3; ++i) moved();
  EXPECT_TRUE(moved.replays());
}

TEST(Capture, OnTheCpuItSimplyRuns) {
  int calls = 0;
  Tensor x = zeros({});
  Captured step = capture([&] {
    ++calls;
    x.copy_(x + 1);
  });
  for (int i = 0; i < 4; ++i) step();
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(x.item(), 4);
  EXPECT_FALSE(step.replays());
}

}  // namespace
