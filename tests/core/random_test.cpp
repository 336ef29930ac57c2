// Draws: their distribution, their bits, and the independence of threads and dtypes.
#include <bobbin/parallel.h>
#include <bobbin/random.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "core/philox.h"

using namespace bobbin;
using testing::ElementsAre;
using testing::StrEq;
using testing::ThrowsMessage;

namespace {

constexpr std::int64_t many = 200'000;

// The largest distance between the samples' distribution and `cdf`, in units that do not depend on the count:
// above 2.2 once in some 8,000 fair draws; a real bug gives 10 and more.
template<class F>
double kolmogorov_smirnov(std::vector<double> x, F&& cdf) {
  std::sort(x.begin(), x.end());
  const auto n = static_cast<double>(x.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double c = cdf(x[i]), k = static_cast<double>(i);
    worst = std::max({worst, c - k / n, (k + 1) / n - c});
  }
  return worst * std::sqrt(n);
}

double correlation(const std::vector<double>& x, const std::vector<double>& y, std::size_t lag = 0) {
  const std::size_t n = x.size() - lag;
  double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double a = x[i], b = y[i + lag];
    sx += a, sy += b, sxx += a * a, syy += b * b, sxy += a * b;
  }
  const auto m = static_cast<double>(n);
  return (sxy - sx * sy / m) / std::sqrt((sxx - sx * sx / m) * (syy - sy * sy / m));
}

// Pearson's statistic for equal bins: its mean is bins - 1, its variance twice that.
double chi_square(const std::vector<int>& counts) {
  const double expected =
      std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size());
  double sum = 0;
  for (const int c : counts) sum += (c - expected) * (c - expected) / expected;
  return sum;
}

double normal_cdf(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }

struct Threads {
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before = num_threads();
};

Philox::Block block(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  auto join = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; };
  return Philox{join(key[0], key[1]), join(counter[2], counter[3])}(join(counter[0], counter[1]));
}

TEST(Philox, GivesTheKnownAnswers) {
  constexpr std::uint32_t f = 0xffffffff;
  EXPECT_THAT(block({0, 0, 0, 0}, {0, 0}).v, ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(block({f, f, f, f}, {f, f}).v, ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}).v,
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(Philox, WordsAreTheBlocksInOrder) {
  const Philox p{5, 9};
  for (std::uint64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(p.word(i), p(i / 4).v[i % 4]);
    EXPECT_EQ(p.word64(i), std::uint64_t{p.word(2 * i + 1)} << 32 | p.word(2 * i));
  }
}

TEST(Philox, UnitNumbersStayBelowOne) {
  EXPECT_EQ(to_unit(std::uint32_t{0}), 0);
  EXPECT_EQ(to_unit(~std::uint32_t{0}), 1 - 0x1p-24f);
  EXPECT_EQ(to_unit(~std::uint64_t{0}), 1 - 0x1p-53);
}

TEST(Random, ASeedReproducesEveryDraw) {
  auto draws = [] {
    std::vector<std::vector<double>> all;
    for (const Tensor& t : {rand({3000}), randn({3000}, DType::f64), randint(-5, 5, {3000}),
                            bernoulli({3000}, .3), randperm(3000), uniform({7}, -1, 1, DType::bf16)})
      all.push_back(t.to_vector<double>());
    return all;
  };
  manual_seed(42);
  const auto first = draws();
  const auto next = draws();
  manual_seed(42);
  EXPECT_EQ(draws(), first);
  manual_seed(43);
  EXPECT_NE(draws(), first);
  for (std::size_t i = 0; i < first.size(); ++i)
    EXPECT_NE(first[i], next[i]) << "draw " << i << " came twice";
}

TEST(Random, AGeneratorPutBackGoesOnFromThere) {
  manual_seed(3);
  rand({5});
  const Generator saved = default_generator();
  const auto a = randn({9}).to_vector<double>();
  EXPECT_EQ(default_generator().draws, saved.draws + 1);
  default_generator() = saved;
  EXPECT_EQ(randn({9}).to_vector<double>(), a);
}

TEST(Random, ACallThatThrowsDrawsNothing) {
  manual_seed(3);
  const Shape huge{std::int64_t{1} << 52};
  EXPECT_THROW(rand(huge), OutOfMemory);
  EXPECT_THROW(uniform(huge, -1, 1), OutOfMemory);
  EXPECT_THROW(randn(huge), OutOfMemory);
  EXPECT_THROW(randint(0, 5, huge), OutOfMemory);
  EXPECT_THROW(bernoulli(huge, .5), OutOfMemory);
  EXPECT_THROW(randperm(huge[0]), OutOfMemory);
  EXPECT_THROW(uniform({2}, 0, 1e300), ValueError);
  EXPECT_EQ(default_generator().draws, 0u);
}

TEST(Random, AThreadHasItsOwnGenerator) {
  manual_seed(8);
  const auto expected = rand({10}).to_vector<double>();
  manual_seed(8);
  std::thread([] { manual_seed(99), rand({4}); }).join();
  EXPECT_EQ(rand({10}).to_vector<double>(), expected);
}

TEST(Random, ElementsDoNotDependOnThreadsNorOnTheShape) {
  for (const auto dtype : {DType::f64, DType::f32, DType::f16}) {
    auto draws = [&](const Shape& shape) {
      manual_seed(5);
      std::vector<double> all;
      for (const Tensor& t : {rand(shape, dtype), randn(shape, dtype), bernoulli(shape, .5, dtype)}) {
        const auto v = t.to_vector<double>();
        all.insert(all.end(), v.begin(), v.begin() + 33);
        if (t.numel() > 33) all.push_back(std::accumulate(v.begin(), v.end(), 0.0));
      }
      return all;
    };
    const auto serial = (Threads(1), draws({37, 1021}));
    {
      const Threads several(4);
      EXPECT_EQ(draws({37, 1021}), serial);
      EXPECT_EQ(draws({1021 * 37}), serial);
    }
    auto start = draws({33}), whole = serial;
    for (int k = 3; k > 0; --k) whole.erase(whole.begin() + 34 * k - 1);
    EXPECT_EQ(start, whole) << "a longer draw starts with the shorter one";
  }
}

TEST(Random, UniformIsUniform) {
  manual_seed(11);
  for (const auto dtype : {DType::f32, DType::f64}) {
    const auto x = rand({many}, dtype).to_vector<double>(), y = rand({many}, dtype).to_vector<double>();
    EXPECT_LT(kolmogorov_smirnov(x, [](double v) { return v; }), 2.2);
    for (std::size_t lag = 0; lag < 5; ++lag)
      EXPECT_LT(std::abs(correlation(x, y, lag)), 5 / std::sqrt(many)) << lag;
    for (std::size_t lag = 1; lag < 5; ++lag)
      EXPECT_LT(std::abs(correlation(x, x, lag)), 5 / std::sqrt(many)) << lag;
    EXPECT_GE(*std::min_element(x.begin(), x.end()), 0);
    EXPECT_LT(*std::max_element(x.begin(), x.end()), 1);
  }
  const auto z = uniform({many}, -3, 5, DType::f64).to_vector<double>();
  EXPECT_LT(kolmogorov_smirnov(z, [](double v) { return (v + 3) / 8; }), 2.2);
}

TEST(Random, NeighbouringSeedsAreUnrelated) {
  manual_seed(1);
  const auto x = rand({many}).to_vector<double>();
  manual_seed(2);
  EXPECT_LT(std::abs(correlation(x, rand({many}).to_vector<double>())), 5 / std::sqrt(many));
}

TEST(Random, UniformNeverReturnsItsUpperEnd) {
  manual_seed(12);
  const std::pair<DType, double> steps[] = {
      {DType::f64, 0x1p-52}, {DType::f32, 0x1p-23}, {DType::f16, 0x1p-10}, {DType::bf16, 0x1p-7}};
  for (const auto& [dtype, step] : steps) {  // the gap between neighbouring numbers above 1
    const auto x = rand({many}, dtype).to_vector<double>();
    EXPECT_LT(*std::max_element(x.begin(), x.end()), 1) << name(dtype);
    const auto y = uniform({1000}, 1, 1 + 2 * step, dtype).to_vector<double>();
    EXPECT_GE(*std::min_element(y.begin(), y.end()), 1) << name(dtype);
    EXPECT_LT(*std::max_element(y.begin(), y.end()), 1 + 2 * step) << name(dtype);
  }
}

TEST(Random, NormalIsNormal) {
  manual_seed(13);
  for (const auto dtype : {DType::f32, DType::f64}) {
    const auto x = randn({many}, dtype).to_vector<double>();
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, extreme = 0;
    std::vector<double> squares;
    for (const double v : x) {
      m1 += v, m2 += v * v, m3 += v * v * v, m4 += v * v * v * v;
      extreme = std::max(extreme, std::abs(v));
      squares.push_back(v * v);
    }
    const double root = std::sqrt(many);  // each moment within 5 of its standard errors
    EXPECT_NEAR(m1 / many, 0, 5 / root);
    EXPECT_NEAR(m2 / many, 1, 5 * std::sqrt(2.0) / root);
    EXPECT_NEAR(m3 / many, 0, 5 * std::sqrt(15.0) / root);
    EXPECT_NEAR(m4 / many, 3, 5 * std::sqrt(96.0) / root);
    EXPECT_LT(kolmogorov_smirnov(x, normal_cdf), 2.2);
    EXPECT_GT(extreme, 3.7) << "the tails are missing";
    EXPECT_LT(extreme, 6.5);
    EXPECT_LT(std::abs(correlation(x, x, 1)), 5 / root);
    EXPECT_LT(std::abs(correlation(squares, squares, 1)), 20 / root) << "pairs share a radius";
  }
}

TEST(Random, IntegersCoverTheirRangeUniformly) {
  manual_seed(14);
  for (const auto dtype : {DType::i64, DType::i32, DType::f32, DType::f64}) {
    std::vector<int> counts(101);
    for (const double v : randint(-50, 51, {many}, dtype).to_vector<double>())
      ++counts.at(static_cast<std::size_t>(v + 50));
    EXPECT_LT(chi_square(counts), 100 + 5 * std::sqrt(200.0)) << name(dtype);
    EXPECT_GT(chi_square(counts), 100 - 5 * std::sqrt(200.0)) << name(dtype) << " is too even";
  }
  for (const auto v : randint(7, 8, {100}).to_vector<std::int64_t>()) EXPECT_EQ(v, 7);
  const auto bytes = randint(0, 256, {many}, DType::u8).to_vector<std::uint8_t>();
  EXPECT_EQ(std::set(bytes.begin(), bytes.end()).size(), 256u);
}

TEST(Random, IntegersSpanTheWidestRange) {
  manual_seed(17);
  constexpr auto low = std::numeric_limits<std::int64_t>::min(),
                 high = std::numeric_limits<std::int64_t>::max();
  std::vector<int> counts(16);
  for (const auto v : randint(low, high, {many}).to_vector<std::int64_t>())
    ++counts[(static_cast<std::uint64_t>(v) ^ (std::uint64_t{1} << 63)) >> 60];
  EXPECT_LT(chi_square(counts), 15 + 5 * std::sqrt(30.0));
}

TEST(Random, BernoulliKeepsItsRate) {
  manual_seed(15);
  for (const double p : {.001, .1, .5, .9}) {
    double ones = 0;
    for (const double v : bernoulli({many}, p).to_vector<double>()) {
      ASSERT_TRUE(v == 0 || v == 1);
      ones += v;
    }
    EXPECT_NEAR(ones, p * many, 5 * std::sqrt(many * p * (1 - p))) << p;
  }
  for (const auto dtype : {DType::f32, DType::boolean, DType::i64, DType::bf16}) {
    for (const double v : bernoulli({5000}, 1, dtype).to_vector<double>()) ASSERT_EQ(v, 1);
    for (const double v : bernoulli({5000}, 0, dtype).to_vector<double>()) ASSERT_EQ(v, 0);
  }
}

TEST(Random, APermutationHoldsEveryNumberOnceInAnyOrder) {
  manual_seed(16);
  auto v = randperm(10'000).to_vector<std::int64_t>();
  EXPECT_LT(
      std::abs(correlation(std::vector<double>(v.begin(), v.end()), arange(10'000).to_vector<double>())),
      .05);
  std::sort(v.begin(), v.end());
  EXPECT_EQ(v, arange(10'000).to_vector<std::int64_t>());
  EXPECT_EQ(randperm(0).shape(), Shape{0});
  EXPECT_EQ(randperm(1).item(), 0);
  std::map<std::vector<std::int64_t>, int> orders;
  for (int i = 0; i < 24'000; ++i) ++orders[randperm(4).to_vector<std::int64_t>()];
  std::vector<int> counts;
  for (const auto& [order, count] : orders) counts.push_back(count);
  ASSERT_EQ(counts.size(), 24u);
  EXPECT_LT(chi_square(counts), 23 + 5 * std::sqrt(46.0));
}

// The words next to p, and the further word where they are equal.
TEST(Random, AChanceIsAMultipleOf2ToTheMinus64) {
  const Philox philox{3, 4};
  for (const double p : {0.0, 1e-9, 0x1p-40, 0.1, 0.4, 0.5, 1 - 0x1p-24, 1 - 0x1p-26, 1 - 0x1p-40, 1.0}) {
    const Chance chance(p);
    using Wide = long double;
    const auto exact = static_cast<Wide>(chance.whole) * 0x1p-32L + static_cast<Wide>(chance.rest) * 0x1p-64L;
    EXPECT_GE(exact, p);
    EXPECT_LT(exact - p, 0x1p-64L) << p;
    for (std::uint64_t i = 0; i < 5; ++i) {
      if (chance.whole > 0) {
        EXPECT_TRUE(chance.happens(chance.whole - 1, philox, i)) << p;
      }
      if (chance.whole < 0xffffffffu) {
        EXPECT_FALSE(chance.happens(chance.whole + 1, philox, i)) << p;
      }
      EXPECT_EQ(chance.happens(chance.whole, philox, i), philox.further_word(i) < chance.rest) << p;
    }
  }
  EXPECT_TRUE(Chance(1).happens(0xffffffffu, philox, 0));
  EXPECT_FALSE(Chance(0).happens(0, philox, 0));
}

// Of all words that a draw can have, those below p happen: counted over the 2^8 words around p 2^32 and, for
// the one in the middle, by the share of further words.
TEST(Random, ASmallProbabilityIsMet) {
  const Chance chance(1e-9);
  EXPECT_EQ(chance.whole, 4u);  // 4.29 of 2^32 words
  int further = 0;
  for (std::uint64_t i = 0; i < 10'000; ++i) further += chance.happens(4, Philox{1, 2}, i);
  EXPECT_NEAR(further, 10'000 * (1e-9 * 0x1p32 - 4), 5 * std::sqrt(10'000 * .29 * .71));
}

TEST(Random, UniformSpansTheWholeRange) {
  manual_seed(18);
  const std::pair<DType, double> ends[] = {
      {DType::f64, 1.7e308}, {DType::f32, 3e38}, {DType::bf16, 3e38}, {DType::f16, 65504}};
  for (const auto& [dtype, end] : ends) {
    const auto x = uniform({many}, -end, end, dtype).to_vector<double>();
    EXPECT_LT(kolmogorov_smirnov(x, [end = end](double v) { return (v / end + 1) / 2; }),
              dtype == DType::bf16 ? 4 : 2.2)
        << name(dtype);
  }
}

TEST(Random, RefusesWhatTheDtypeCannotBe) {
  EXPECT_THAT(
      [] { randint(0, 300, {2}, DType::u8); },
      ThrowsMessage<ValueError>(StrEq("randint: [0, 300) leaves the range of u8; choose another dtype")));
  EXPECT_THROW(randint(-1, 1, {2}, DType::u8), ValueError);
  EXPECT_THROW(randint(0, 3, {2}, DType::boolean), ValueError);
  EXPECT_THROW(randint(0, std::int64_t{1} << 32, {2}, DType::i32), ValueError);
  EXPECT_THROW(randint(0, 70'000, {2}, DType::f16), ValueError);
  EXPECT_EQ(randint(255, 256, {1}, DType::u8).item(), 255);
  EXPECT_EQ(randint(-2147483648, -2147483647, {1}, DType::i32).item(), -2147483648.0);
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_THROW(uniform({2}, 0, inf), ValueError);
  EXPECT_THROW(uniform({2}, std::nan(""), 1), ValueError);
  EXPECT_THROW(uniform({2}, 0, 1e5, DType::f16), ValueError);
}

TEST(Random, RefusesWhatItCannotDraw) {
  EXPECT_THROW(rand({2}, DType::i64), DTypeError);
  EXPECT_THAT([] { randn({2}, DType::boolean); },
              ThrowsMessage<DTypeError>(StrEq("randn: expected a floating-point dtype; got bool")));
  EXPECT_THAT([] { randint(3, 3, {2}); },
              ThrowsMessage<ValueError>(StrEq("randint: expected low < high; got 3 and 3")));
  EXPECT_THAT([] { bernoulli({2}, 1.5); },
              ThrowsMessage<ValueError>(StrEq("bernoulli: expected a probability; got 1.5")));
  EXPECT_THROW(bernoulli({2}, std::nan("")), ValueError);
  EXPECT_THROW(randperm(-1), ValueError);
  EXPECT_THROW(randperm(std::int64_t{1} << 61), OutOfMemory);
  EXPECT_THROW(rand({-1}), ShapeError);
  EXPECT_EQ(rand({0, 5}).numel(), 0);
}

}  // namespace
