// Random numbers on a GPU against those of the CPU, element by element.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin;

namespace {

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};
constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
constexpr std::int64_t sizes[] = {0, 1, 2, 3, 5, 1000, 60'000, 100'003};

using CudaRandom = SeededCuda<5>;

using Draw = std::function<Tensor(const Shape&, Device)>;

struct Pair {
  Tensor cpu, gpu;
};

// The same draw of one generator on each device, with words beyond 32 bits in its state.
Pair draw(const Draw& f, std::int64_t n) {
  const auto on = [&](Device d) {
    manual_seed(0x1234'5678'9ABC'DEF0);
    default_generator().draws = (std::uint64_t{1} << 33) + 2;
    const Tensor t = f({n}, d);
    EXPECT_EQ(default_generator().draws, (std::uint64_t{1} << 33) + 3);
    return t;
  };
  Pair p{on(Device::cpu()), on(gpu)};
  EXPECT_EQ(p.gpu.device(), gpu);
  EXPECT_EQ(p.gpu.shape(), p.cpu.shape());
  EXPECT_EQ(p.gpu.dtype(), p.cpu.dtype());
  p.gpu = to(p.gpu, Device::cpu());
  return p;
}

void expect_same_bits(const Draw& f, const std::string& what) {
  for (const auto n : sizes) {
    const Pair p = draw(f, n);
    const auto bytes = static_cast<std::size_t>(n * size_of(p.cpu.dtype()));
    if (bytes == 0 || std::memcmp(p.cpu.raw(), p.gpu.raw(), bytes) == 0) continue;
    const auto want = p.cpu.to_vector<double>(), got = p.gpu.to_vector<double>();
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], want[i]) << what << ", element " << i << " of " << n;
    FAIL() << what << ": other bits";
  }
}

TEST_F(CudaRandom, UniformNumbersAreTheCpus) {
  for (const auto t : floating) {
    const auto check = [&](double low, double high) {
      expect_same_bits(
          [=](const Shape& s, Device d) { return uniform(s, low, high, t, d); },
          std::string(name(t)) + " of [" + std::to_string(low) + "," + std::to_string(high) + ")");
    };
    check(0, 1);
    check(-3.7, 5.3);
    check(1, 1.01);  // few numbers of a 16-bit type: most would round to the end
    check(-1e4, -0.1);
    check(2, 2);
    const double most = t == DType::f64 ? 1.7e308 : t == DType::f16 ? 65504 : 3e38;
    check(-most, most);
    expect_same_bits([=](const Shape& s, Device d) { return rand(s, t, d); }, std::string(name(t)));
  }
}

// In units of the last place of a floating-point dtype.
std::int64_t distance(const Tensor& a, const Tensor& b, std::int64_t i) {
  return visit(a.dtype(), [&]<class T>(Type<T>) -> std::int64_t {
    const auto place = [i](const Tensor& t) {
      std::conditional_t<sizeof(T) == 8, std::int64_t,
                         std::conditional_t<sizeof(T) == 4, std::int32_t, std::int16_t>>
          bits = 0;
      std::memcpy(&bits, t.raw<T>() + i, sizeof(T));
      const std::int64_t wide = bits, lowest = std::numeric_limits<decltype(bits)>::min();
      return wide < 0 ? lowest - wide : wide;
    };
    return std::abs(place(a) - place(b));
  });
}

// Between two libraries' log, sin and cos.
TEST_F(CudaRandom, NormalNumbersAreTheCpusButForTheLastPlace) {
  for (const auto t : floating)
    for (const auto n : sizes) {
      const Pair p = draw([=](const Shape& s, Device d) { return randn(s, t, d); }, n);
      std::int64_t differ = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto apart = distance(p.cpu, p.gpu, i);
        ASSERT_LE(apart, t == DType::f64 ? 4 : 1) << name(t) << ", element " << i << " of " << n;
        differ += apart != 0;
      }
      if (t != DType::f64) {
        EXPECT_LE(differ, n / 10'000) << name(t) << ": computed in f64, and rounded once";
      }
    }
}

TEST_F(CudaRandom, IntegersAreTheCpus) {
  constexpr auto least = std::numeric_limits<std::int64_t>::min(),
                 most = std::numeric_limits<std::int64_t>::max();
  for (const auto t : all_dtypes)
    for (const auto& [low, high] : {std::pair<std::int64_t, std::int64_t>{0, 2},
                                    {-50, 51},
                                    {7, 8},
                                    {0, 256},
                                    {-70'000, 70'000},
                                    {1ll << 40, 1ll << 50},
                                    {least, most}}) {
      bool refused = false;
      try {
        randint(low, high, {1}, t);
      } catch (const ValueError&) {
        refused = true;
        EXPECT_THROW(randint(low, high, {1}, t, gpu), ValueError);
      }
      if (refused) continue;
      expect_same_bits(
          [=, low = low, high = high](const Shape& s, Device d) { return randint(low, high, s, t, d); },
          std::string(name(t)) + " from " + std::to_string(low));
    }
}

TEST_F(CudaRandom, BernoulliChoosesWhatTheCpuChooses) {
  for (const auto t : all_dtypes)
    for (const double p : {0.0, 1e-9, 0x1p-33, 0.1, 0.5, 1 - 0x1p-24, 1 - 0x1p-26, 1.0})
      expect_same_bits([=](const Shape& s, Device d) { return bernoulli(s, p, t, d); },
                       std::string(name(t)) + " at " + std::to_string(p));
}

TEST_F(CudaRandom, PermutationsAreTheCpus) {
  expect_same_bits([](const Shape& s, Device d) { return randperm(s[0], d); }, "randperm");
}

TEST_F(CudaRandom, ACallThatThrowsDrawsNothing) {
  const Generator before = default_generator();
  const Shape huge{std::int64_t{1} << 42};
  EXPECT_THROW(rand(huge, DType::f32, gpu), OutOfMemory);
  EXPECT_THROW(randn(huge, DType::f32, gpu), OutOfMemory);
  EXPECT_THROW(randint(0, 5, huge, DType::i64, gpu), OutOfMemory);
  EXPECT_THROW(bernoulli(huge, .5, DType::f32, gpu), OutOfMemory);
  EXPECT_THROW(randperm(huge[0], gpu), OutOfMemory);
  EXPECT_EQ(default_generator().draws, before.draws);
}

TEST_F(CudaRandom, DrawsFollowEachOther) {
  const auto sequence = [](Device d) {
    manual_seed(9);
    std::vector<double> all;
    const auto take = [&](const Tensor& t) {
      for (const double v : t.to_vector<double>()) all.push_back(v);
    };
    take(rand({7}, DType::f32, d));
    take(randperm(11, d));
    take(rand({7}, DType::f32, d));
    take(randint(0, 100, {2, 3}, DType::i32, d));
    return all;
  };
  EXPECT_EQ(sequence(gpu), sequence(Device::cpu()));
}

TEST_F(CudaRandom, NothingWaits) {
  const auto before = synchronizations();
  rand({1000}, DType::f32, gpu);
  randn({1000}, DType::bf16, gpu);
  randint(0, 9, {1000}, DType::u8, gpu);
  bernoulli({1000}, 0.5, DType::boolean, gpu);
  randperm(100'000, gpu);
  EXPECT_EQ(synchronizations(), before);
}

TEST_F(CudaRandom, ACapturedStepDrawsBatchesAnew) {
  const Tensor set = to(arange(1000, DType::i64), gpu);
  const auto run = [&](bool captured) {
    manual_seed(5);
    Tensor last = zeros({64}, DType::i64, gpu), noise = zeros({3}, DType::f32, gpu);
    const auto draw = [&] {
      last.copy_(index_select(set, 0, slice(randperm(1000, gpu), 0, 0, 64)));
      noise.copy_(randn({3}, DType::f32, gpu) + bernoulli({3}, 0.5, DType::f32, gpu));
    };
    Captured step = capture(draw);
    std::vector<double> all;
    for (int i = 0; i < 5; ++i) {
      captured ? step() : draw();
      for (const double v : last.to_vector<double>()) all.push_back(v);
      for (const double v : noise.to_vector<double>()) all.push_back(v);
    }
    return all;
  };
  EXPECT_EQ(run(true), run(false));
}

}  // namespace
