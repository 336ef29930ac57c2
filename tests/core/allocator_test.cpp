// The caching allocator: sizes, statistics, alignment, and the guards that find writes out of bounds.
#include <bobbin/allocator.h>
#include <bobbin/parallel.h>
#include <bobbin/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

// The memory checkers stop a program that asks for too much, unless told to answer as the system does.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

using namespace bobbin;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

constexpr std::int64_t huge = std::int64_t{1} << 62;

AllocatorStats stats() { return allocator().stats(); }

bool caching() {
  const char* v = std::getenv("BOBBIN_CACHE");
  return !v || std::string_view(v) != "0";
}

TEST(Allocator, GivesAlignedMemoryOfAtLeastTheSizeAskedFor) {
  std::vector<std::size_t> sizes;
  for (std::size_t n = 1; n < 2100; ++n) sizes.push_back(n);
  for (std::size_t power = 4096; power <= (std::size_t{1} << 24); power *= 2)
    for (std::size_t n : {power - 1, power, power + 1, power + power / 8, power + power / 8 + 1})
      sizes.push_back(n);
  for (const std::size_t n : sizes) {
    const auto before = stats().bytes_live;
    void* p = allocator().allocate(n);
    const auto given = static_cast<std::size_t>(stats().bytes_live - before);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0u) << n;
    ASSERT_GE(given, n);
    ASSERT_LE(given, n + n / 8 + 64) << n << " wastes more than an eighth";
    std::memset(p, 1, given);  // a memory checker sees a block smaller than what is counted
    allocator().deallocate(p, n);
    ASSERT_EQ(stats().bytes_live, before);
  }
  allocator().release_cached();
}

TEST(Allocator, GivesNothingForNothing) {
  const auto before = stats();
  EXPECT_EQ(allocator().allocate(0), nullptr);
  allocator().deallocate(nullptr, 0);
  EXPECT_EQ(stats().system_calls, before.system_calls);
  EXPECT_EQ(stats().bytes_live, before.bytes_live);
}

TEST(Allocator, CountsWhatIsLiveCachedAndAskedOfTheSystem) {
  if (!caching()) GTEST_SKIP() << "BOBBIN_CACHE=0";
  allocator().release_cached();
  const auto before = stats();
  EXPECT_EQ(before.bytes_cached, 0);
  {
    const Tensor a = empty({1024}), b = empty({1024});
    EXPECT_EQ(stats().bytes_live, before.bytes_live + 8192);
    EXPECT_EQ(stats().system_calls, before.system_calls + 2);
    const Tensor view = a.alias({3}, {1}, 5), handle = b;
    EXPECT_EQ(stats().bytes_live, before.bytes_live + 8192) << "views and handles share";
  }
  EXPECT_EQ(stats().bytes_live, before.bytes_live);
  EXPECT_EQ(stats().bytes_cached, 8192);
  EXPECT_EQ(stats().system_calls, before.system_calls + 2);
  { const Tensor again = empty({1023}); }
  EXPECT_EQ(stats().system_calls, before.system_calls + 2) << "a block serves sizes near its own";
  allocator().release_cached();
  EXPECT_EQ(stats().bytes_cached, 0);
  EXPECT_EQ(stats().system_calls, before.system_calls + 4);
}

TEST(Allocator, AViewKeepsTheMemoryAlive) {
  Tensor view;
  {
    const Tensor whole = arange(1000);
    view = whole.alias({2}, {1}, 500);
  }
  const Tensor other = full({1000}, -1, DType::i64);  // would reuse the block
  EXPECT_EQ(view.at({1}), 501);
}

TEST(Allocator, ALoopInItsSteadyStateMakesNoSystemCalls) {
  if (!caching()) GTEST_SKIP() << "BOBBIN_CACHE=0";
  auto step = [](std::int64_t batch) {
    const Tensor a = full({batch, 100}, 1), b = empty({100, 30}), c = arange(batch * 7);
    Tensor d = empty({batch, 100}, DType::f64).copy_(a);
    d.fill_(3);
  };
  step(32), step(17);
  const auto before = stats();
  for (int i = 0; i < 200; ++i) step(i % 2 ? 32 : 17);
  EXPECT_EQ(stats().system_calls, before.system_calls);
  EXPECT_EQ(stats().bytes_cached, before.bytes_cached);
}

TEST(Allocator, KeepsThePeakUntilReset) {
  allocator().reset_peak();
  const auto base = stats().bytes_live;
  EXPECT_EQ(stats().bytes_peak, base);
  { const Tensor a = empty({4096}), b = empty({4096}); }
  { const Tensor c = empty({4096}); }
  EXPECT_EQ(stats().bytes_peak, base + 2 * 16384);
  allocator().reset_peak();
  EXPECT_EQ(stats().bytes_peak, stats().bytes_live);
}

TEST(Allocator, PoisonShowsWhatIsNeverWritten) {
  { const Tensor zeroes = zeros({1000}); }
  poison_allocations(true);
  const Tensor x = empty({1000}), i = empty({10}, DType::i32);
  poison_allocations(false);
  for (const float v : x.data<float>()) ASSERT_TRUE(std::isnan(v));
  EXPECT_EQ(i.at({9}), -1);
  EXPECT_EQ(zeros({3}).at({2}), 0);
}

TEST(Allocator, AnAbsurdSizeThrowsAndLeavesEverythingUsable) {
  const Tensor kept = full({100}, 7);
  const auto before = stats();
  for (const Shape& shape :
       {Shape{std::int64_t{1} << 56}, Shape{std::int64_t{1} << 59}, Shape{std::int64_t{1} << 60},
        Shape{std::int64_t{1} << 61}, Shape{std::int64_t{1} << 30, std::int64_t{1} << 32}}) {
    EXPECT_THROW(empty(shape, DType::f64), OutOfMemory) << shape;
    EXPECT_THROW(zeros(shape, DType::u8), OutOfMemory) << shape;
  }
  EXPECT_THAT([] { allocator().allocate(std::size_t{1} << 60); },
              ThrowsMessage<OutOfMemory>(HasSubstr("cpu: no memory for ")));
  EXPECT_THROW(allocator().allocate(~std::size_t{0}), OutOfMemory);
  EXPECT_EQ(stats().bytes_live, before.bytes_live);
  EXPECT_EQ(stats().bytes_peak, before.bytes_peak);
  EXPECT_EQ(kept.at({99}), 7);
  EXPECT_EQ(full({100}, 8).at({0}), 8);
}

TEST(Allocator, ImpossibleShapesThrowWithoutAllocating) {
  const auto before = allocator().stats();
  EXPECT_THAT([] { zeros({2, -3}); }, ThrowsMessage<ShapeError>("shape [2,-3] has a negative size"));
  EXPECT_THROW(zeros({0, -1}), ShapeError);
  EXPECT_THAT(
      [] {
        empty({huge, 2});
      },
      ThrowsMessage<ShapeError>("shape [4611686018427387904,2] holds more than 2^63 elements"));
  EXPECT_THROW(empty({huge, huge, huge, 4}), ShapeError);
  for (const auto dtype : {DType::f64, DType::f32, DType::f16, DType::u8, DType::boolean})
    for (const std::int64_t n : {huge / 4, huge / 2, huge}) EXPECT_THROW(empty({n}, dtype), OutOfMemory) << n;
  EXPECT_THROW(eye(huge), ShapeError);
  EXPECT_THAT(
      [] {
        zeros({1, 1, 1, 1, 1, 1, 1, 1, 1});
      },
      ThrowsMessage<ShapeError>("a tensor has at most 8 dimensions"));
  EXPECT_EQ(allocator().stats().bytes_live, before.bytes_live);
}

TEST(Allocator, LongSequencesThrowBobbinsErrors) {
  EXPECT_THROW(arange(huge), OutOfMemory);
  EXPECT_THROW(arange(0, 1e300), Error);
  EXPECT_THROW(linspace(0, 1, huge), OutOfMemory);
}

TEST(Allocator, AHugeShapeWithNoElementsIsEmpty) {
  for (const Shape& shape :
       {Shape{0, huge, huge}, Shape{huge, 0, huge}, Shape{huge, huge, 0}, Shape{2, huge, 4, 0, 9}}) {
    const Tensor t = zeros(shape);
    EXPECT_EQ(t.numel(), 0);
    EXPECT_TRUE(t.is_contiguous());
    EXPECT_TRUE(t.to_vector<float>().empty());
  }
}

TEST(Allocator, AFailureGivesBackTheCacheBeforeItGivesUp) {
  { const Tensor x = empty({5000}); }
  EXPECT_THROW(allocator().allocate(std::size_t{1} << 60), OutOfMemory);
  EXPECT_EQ(stats().bytes_cached, 0);
}

TEST(Allocator, ServesSeveralThreadsAtOnce) {
  allocator().release_cached();
  const auto before = stats().bytes_live;
  std::atomic<bool> clash = false;
  {
    std::vector<std::jthread> threads;
    for (int id = 1; id <= 4; ++id)
      threads.emplace_back([id, &clash] {
        std::mt19937 random(static_cast<unsigned>(id));
        std::vector<std::pair<unsigned char*, std::size_t>> held;
        for (int i = 0; i < 3000; ++i) {
          if (held.size() < 20) {
            const std::size_t n = 1 + random() % 3000;
            auto* p = static_cast<unsigned char*>(allocator().allocate(n));
            std::memset(p, id, n);
            held.emplace_back(p, n);
          }
          if (held.size() == 20 || random() % 2) {  // another's mark shows that a block was handed out twice
            auto [p, n] = held[random() % held.size()];
            for (std::size_t k = 0; k < n; ++k)
              if (p[k] != id) clash = true;
            std::erase(held, std::pair{p, n});
            allocator().deallocate(p, n);
          }
        }
        for (auto [p, n] : held) allocator().deallocate(p, n);
      });
    for (int i = 0; i < 50; ++i) (void)stats(), allocator().release_cached(), allocator().reset_peak();
  }
  EXPECT_FALSE(clash);
  EXPECT_EQ(stats().bytes_live, before);
}

TEST(Allocator, TensorsPassBetweenThreads) {
  Tensor made;
  std::thread([&] { made = arange(5000); }).join();
  const auto live = stats().bytes_live;
  std::thread([t = std::move(made)]() mutable { EXPECT_EQ(t.at({4999}), 4999), t = {}; }).join();
  EXPECT_LT(stats().bytes_live, live);
}

TEST(Allocator, IsRefusedForADeviceThatIsNotThere) {
  std::string why;
  if (cuda_available(&why)) GTEST_SKIP() << "there is a CUDA device";
  EXPECT_FALSE(why.empty());
  EXPECT_THAT([] { allocator(Device::cuda(1)); },
              ThrowsMessage<DeviceError>("device cuda:1 cannot be used: " + why));
  EXPECT_THROW(zeros({2}, DType::f32, Device::cuda()), DeviceError);
}

}  // namespace
