// The CUDA runtime: memory, copies, streams, waiting and errors.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

using CudaMemory = Cuda;
using CudaCopies = Cuda;
using CudaStreams = Cuda;
using CudaErrors = Cuda;

TEST_F(CudaMemory, IsReusedWithoutAskingTheSystem) {
  Allocator& a = allocator(gpu);
  { const Tensor warm = empty({1000}, DType::f32, gpu); }
  const auto before = a.stats();
  void* first = empty({1000}, DType::f32, gpu).raw();
  EXPECT_EQ(empty({1010}, DType::f32, gpu).raw(), first) << "a block serves sizes near its own";
  EXPECT_EQ(a.stats().system_calls, before.system_calls);
  EXPECT_EQ(a.stats().bytes_live, before.bytes_live);
}

TEST_F(CudaMemory, CountsAndReleases) {
  Allocator& a = allocator(gpu);
  a.release_cached();
  EXPECT_EQ(a.stats().bytes_cached, 0);
  a.reset_peak();
  const auto before = a.stats();
  {
    const Tensor x = empty({1 << 20}, DType::f32, gpu);
    EXPECT_EQ(a.stats().bytes_live - before.bytes_live, 4 << 20);
  }
  EXPECT_EQ(a.stats().bytes_peak - before.bytes_live, 4 << 20);
  EXPECT_EQ(a.stats().bytes_cached, 4 << 20);
  a.release_cached();
  EXPECT_EQ(a.stats().bytes_cached, 0);
  EXPECT_EQ(empty({0, 3}, DType::f32, gpu).raw(), nullptr);
}

TEST_F(CudaMemory, AnsweredWithOutOfMemoryTheProcessGoesOn) {
  const std::string why = message_of<OutOfMemory>([&] { empty({std::int64_t{1} << 42}, DType::f32, gpu); });
  EXPECT_NE(why.find("cuda:0: no memory for 17592186044416 bytes"), std::string::npos) << why;
  EXPECT_EQ(sum(ones({1000}, DType::f32, gpu)).item(), 1000);
}

TEST_F(CudaMemory, TheCacheMakesRoomForALargeBlock) {
  Allocator& a = allocator(gpu);
  std::int64_t n = std::int64_t{1} << 30;  // bytes, doubled until there is no room twice
  while (true) {
    try {
      const Tensor x = empty({n}, DType::u8, gpu), y = empty({n}, DType::u8, gpu);
    } catch (const OutOfMemory&) {
      break;
    }
    a.release_cached();
    n *= 2;
  }
  a.release_cached();
  { const Tensor x = empty({n / 2 + 1}, DType::u8, gpu); }
  EXPECT_GT(a.stats().bytes_cached, n / 2);
  try {
    const Tensor y = empty({n}, DType::u8, gpu);  // fits only where the cached block was given back
    EXPECT_LT(a.stats().bytes_cached, n / 2);
  } catch (const OutOfMemory&) {
  }
  a.release_cached();
}

TEST_F(CudaMemory, GuardsSeeAWriteBesideABlock) {
  const std::int64_t before = damaged_guards();
  guard_allocations(true);
  {
    const Tensor x = zeros({100}, DType::u8, gpu);
    EXPECT_EQ(sum(x).item(), 0);
  }
  EXPECT_EQ(damaged_guards(), before);
  {
    const Tensor x = zeros({100}, DType::u8, gpu);
    x.alias({1}, {1}, 100).fill_(1);
  }
  guard_allocations(false);
  EXPECT_EQ(damaged_guards(), before + 1);
}

TEST_F(CudaMemory, PoisonShowsWhatNobodyWrote) {
  poison_allocations(true);
  const Tensor x = empty({5}, DType::f32, gpu);
  poison_allocations(false);
  for (float v : x.to_vector<float>()) EXPECT_TRUE(std::isnan(v));
}

TEST_F(CudaCopies, KeepEveryBit) {
  for (const std::int64_t n : {1, 7, 2000, 2049, 1 << 20, (5 << 20) + 3, (20 << 20) + 1}) {
    const Tensor x = randint(0, 256, {n}, DType::u8);
    const Tensor y = to(x, gpu);
    EXPECT_EQ(y.spec(), (TensorSpec{{n}, DType::u8, gpu}));
    EXPECT_EQ(to(y, Device::cpu()).to_vector<std::uint8_t>(), x.to_vector<std::uint8_t>()) << n;
  }
}

TEST_F(CudaCopies, ManySmallOnesInFlightStayApart) {
  std::vector<Tensor> all;
  for (int i = 0; i < 1000; ++i) all.push_back(full({3}, i, DType::i32));
  for (Tensor& t : all) t = to(t, gpu);
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(all[static_cast<std::size_t>(i)].to_vector<int>(), (std::vector<int>{i, i, i}));
}

TEST_F(CudaCopies, ConvertBroadcastAndReadViews) {
  const Tensor x = rand({4, 6}, DType::f64);
  Tensor y = empty({4, 6}, DType::f32, gpu);
  y.copy_(x);
  EXPECT_EQ(y.to_vector<float>(), x.to_vector<float>());
  y.copy_(slice(x, 0, 1, 2));
  EXPECT_EQ(select(y, 0, 3).to_vector<float>(), select(x, 0, 1).to_vector<float>());
  const Tensor t = transpose(to(x, gpu));
  EXPECT_EQ(t.to_vector<double>(), contiguous(transpose(x)).to_vector<double>());
  EXPECT_EQ(t.at({5, 2}), x.at({2, 5}));
  Tensor back = zeros({6, 4}, DType::f64);
  transpose(back).copy_(to(x, gpu));
  EXPECT_EQ(contiguous(transpose(back)).to_vector<double>(), x.to_vector<double>());
  EXPECT_EQ(to_string(to(tensor({1, 2}), gpu)), "f32[2]@cuda:0\n[1., 2.]");
}

TEST_F(CudaCopies, GradientsComeBackToTheirDevice) {
  const Tensor x = rand({3}).set_requires_grad();
  backward(sum(to(x, gpu) * full({3}, 2, DType::f32, gpu)));
  EXPECT_EQ(x.grad().device(), Device::cpu());
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{2, 2, 2}));
}

TEST_F(CudaCopies, TensorsOfTwoDevicesDoNotMix) {
  EXPECT_EQ(message_of<DeviceError>([&] { add(ones({2}), ones({2}, DType::f32, gpu)); }),
            "add: tensors must be on one device; got f32[2] and f32[2]@cuda:0");
  EXPECT_EQ(message_of<DeviceError>([&] { ones({2}, DType::f32, gpu).data<float>(); }),
            "data: the tensor is on cuda:0; copy it with to(x, Device::cpu())");
}

TEST_F(CudaCopies, ReachEveryGpu) {
  const Tensor x = rand({1000});
  for (int i = 0; i < device_count(); ++i) {
    const Tensor y = to(to(x, gpu), Device::cuda(i));
    EXPECT_EQ(y.device(), Device::cuda(i));
    EXPECT_EQ((y + y).to_vector<float>(), (x + x).to_vector<float>());
  }
}

TEST_F(CudaStreams, OnlyReadingWaits) {
  const Tensor x = rand({1000}, DType::f32, gpu);
  const auto before = synchronizations();
  const Tensor y = sum(exp(x) * x);
  EXPECT_EQ(synchronizations(), before);
  y.item();
  EXPECT_EQ(synchronizations(), before + 1);
  synchronize(gpu);
  EXPECT_EQ(synchronizations(), before + 2);
  synchronize(Device::cpu());
  EXPECT_EQ(synchronizations(), before + 2);
}

TEST_F(CudaStreams, WorkCrossesScopesInOrder) {
  const Stream side(gpu);
  for (int round = 0; round < 20; ++round) {
    const Tensor x = rand({1 << 20}, DType::f32, gpu);
    Tensor y;
    {
      const StreamScope scope(side);
      y = x + x;
    }
    const Tensor difference = sum(abs(y - x - x));
    EXPECT_EQ(difference.item(), 0);
  }
  EXPECT_THROW(Stream(Device::cpu()), DeviceError);
}

TEST_F(CudaStreams, ThreadsShareADevice) {
  std::vector<double> sums(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < sums.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i)
        sums[t] =
            sum(full({1000}, static_cast<double>(t), DType::f32, gpu) * ones({1000}, DType::f32, gpu)).item();
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(sums, (std::vector<double>{0, 1000, 2000, 3000}));
}

TEST_F(CudaErrors, ABadIndexIsReportedAndTheDeviceLivesOn) {
  const Tensor x = rand({4, 3}, DType::f32, gpu), index = to(tensor({0, 9, 7}, DType::i64), gpu);
  EXPECT_EQ(message_of<IndexError>([&] {
              index_select(x, 0, index);
              synchronize(gpu);
            }),
            "index_select: index 9 at flat position 1 is outside [0,4)");
  synchronize(gpu);
  EXPECT_EQ(index_select(x, 0, to(tensor({3}, DType::i64), gpu)).to_vector<float>(),
            select(x, 0, 3).to_vector<float>());
}

TEST_F(CudaErrors, DevicesThatAreNotThere) {
  EXPECT_EQ(message_of<DeviceError>([] { zeros({1}, DType::f32, Device::cuda(1000)); }),
            "device cuda:1000 cannot be used: there are " + std::to_string(device_count()) + " GPUs here");
}

}  // namespace
