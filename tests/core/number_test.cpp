// Numbers and dtypes: conversions round once, and what a dtype cannot be is an error.
#include <bobbin/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "core/cast.h"

using namespace bobbin;
using testing::ElementsAre;
using testing::StrEq;
using testing::ThrowsMessage;

namespace {

// The nearest 16-bit float by searching all of them: no arithmetic is rounded.
template<class T>
std::uint16_t nearest(long double x) {
  std::uint16_t best = 0;
  long double distance = std::numeric_limits<long double>::infinity();
  for (int bits = 0; bits < 0x8000; ++bits) {
    T t;
    t.bits = static_cast<std::uint16_t>(bits);
    const auto value = static_cast<long double>(static_cast<float>(t));
    if (!std::isfinite(value)) break;
    const long double d = std::abs(std::abs(x) - value);
    if (d < distance || (d == distance && bits % 2 == 0)) best = t.bits, distance = d;
  }
  return static_cast<std::uint16_t>(best | (std::signbit(x) ? 0x8000 : 0));
}

TEST(Conversion, RoundsOnce) {
  const double tie = 1 + 0x1p-11, above = tie + 0x1p-40;
  EXPECT_EQ(cast<Half>(above).bits, 0x3c01) << "through f32 it would be the tie, and round to 1";
  EXPECT_EQ(cast<Half>(tie).bits, 0x3c00);
  EXPECT_EQ(cast<BFloat16>(1 + 0x1p-8 + 0x1p-50).bits, 0x3f81);
  EXPECT_EQ(cast<BFloat16>(std::int64_t{(1ll << 62) + (1ll << 54) + 1}).bits, 0x5e81);
  EXPECT_EQ(cast<BFloat16>(std::int64_t{(1ll << 62) + (1ll << 54)}).bits, 0x5e80);
  EXPECT_EQ(cast<BFloat16>(std::int64_t{-(1ll << 62) - (1ll << 54) - 1}).bits, 0xde81);
  EXPECT_EQ(cast<Half>(std::int32_t{2049}).bits, Half(2048.f).bits);
  EXPECT_EQ(cast<BFloat16>(std::int32_t{(1 << 30) + (1 << 22) + 1}).bits, 0x4e81);
  for (const double v :
       {1e300, 1e-300, 0x1p-25, 0x1.0000000001p-25, 65520., 65519.9999999, 3.4e38, 3.5e38, 1e-45, 0., -0.})
    for (const double x : {v, -v}) {
      if (std::abs(x) < 65520) {
        EXPECT_EQ(cast<Half>(x).bits, nearest<Half>(x)) << x;
      }
      if (std::abs(x) < 3.39e38) {
        EXPECT_EQ(cast<BFloat16>(x).bits, nearest<BFloat16>(x)) << x;
      }
    }
  EXPECT_EQ(cast<Half>(65520.).bits, 0x7c00);
  EXPECT_EQ(cast<Half>(1e300).bits, 0x7c00);
  EXPECT_EQ(cast<BFloat16>(-1e300).bits, 0xff80);
  EXPECT_TRUE(std::isnan(static_cast<float>(cast<Half>(std::nan("")))));
}

// A little above and below every tie, and near random numbers.
TEST(Conversion, RoundsOnceNearTies) {
  std::mt19937_64 bits(7);
  for (int i = 0; i < 300; ++i) {
    Half h;
    h.bits = static_cast<std::uint16_t>(bits() % 0x7bff);
    Half next = h;
    ++next.bits;
    const double low = static_cast<float>(h), high = static_cast<float>(next), tie = (low + high) / 2;
    for (const double e : {-0x1p-40, 0., 0x1p-40}) {
      const double x = tie * (1 + e);
      EXPECT_EQ(cast<Half>(x).bits, e < 0 ? h.bits : e > 0 || h.bits % 2 ? next.bits : h.bits) << x;
      EXPECT_EQ(cast<Half>(-x).bits & 0x7fff, cast<Half>(x).bits) << x;
    }
  }
}

// Every pair of dtypes, contiguous and strided, does what cast does for one element.
TEST(Conversion, OfTensorsIsThatOfElements) {
  const std::vector<std::int64_t> integers{0,
                                           1,
                                           -1,
                                           255,
                                           256,
                                           300,
                                           -300,
                                           2049,
                                           65519,
                                           65520,
                                           (1ll << 31) - 1,
                                           1ll << 31,
                                           -(1ll << 31) - 1,
                                           (1ll << 53) + 1,
                                           (1ll << 62) + (1ll << 54) + 1,
                                           INT64_MAX,
                                           INT64_MIN};
  const std::vector<double> reals{
      0,     -0.5, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-8 + 0x1p-50, 255.9, 256, -1, 65520, 1e10, -1e10, 1e19,
      -1e19, 1e300};
  const auto check = [](const Tensor& x) {
    visit(x.dtype(), [&]<class From>(Type<From>) {
      for (const DType d : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32,
                            DType::u8, DType::boolean})
        visit(d, [&]<class To>(Type<To>) {
          const Tensor y = empty(x.shape(), d).copy_(x), strided = empty({x.numel(), 2}, d);
          strided.alias({x.numel()}, {2}, 0).copy_(x);
          const auto got = y.to_vector<To>(), apart = strided.alias({x.numel()}, {2}, 0).to_vector<To>();
          const auto from = x.to_vector<From>();
          for (std::size_t i = 0; i < got.size(); ++i) {
            const To want = cast<To>(static_cast<From>(from[i]));
            EXPECT_EQ(static_cast<double>(got[i]), static_cast<double>(want))
                << name(x.dtype()) << ' ' << name(d) << ' ' << i;
            EXPECT_EQ(static_cast<double>(apart[i]), static_cast<double>(want))
                << name(x.dtype()) << ' ' << name(d) << ' ' << i;
          }
        });
    });
  };
  const Tensor whole = from_range(integers), real = from_range(reals);
  check(whole), check(real);
  for (const DType d : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::u8, DType::boolean}) {
    check(empty(whole.shape(), d).copy_(whole));
    check(empty(real.shape(), d).copy_(real));
  }
}

TEST(Conversion, OfIntegersSaturates) {
  const Tensor x = from_range(std::vector<std::int64_t>{-1, 0, 255, 300, INT64_MAX, INT64_MIN});
  EXPECT_THAT(x.to_vector<std::uint8_t>(), ElementsAre(0, 0, 255, 255, 255, 0));
  EXPECT_THAT(x.to_vector<std::int32_t>(), ElementsAre(-1, 0, 255, 300, INT32_MAX, INT32_MIN));
}

TEST(Numbers, ThatADtypeCannotBeAreErrors) {
  EXPECT_THAT([] { full({2}, 0.5, DType::i64); },
              ThrowsMessage<ValueError>(
                  StrEq("full: no i64 is 0.5; choose another dtype, or round the number first")));
  EXPECT_THROW(full({2}, 300, DType::u8), ValueError);
  EXPECT_THROW(full({2}, -1, DType::u8), ValueError);
  EXPECT_THROW(full({2}, std::nan(""), DType::i32), ValueError);
  EXPECT_THROW(full({2}, 0x1p63, DType::i64), ValueError);
  EXPECT_THROW(full({2}, 2, DType::boolean), ValueError);
  EXPECT_THROW(zeros({2}, DType::u8).fill_(256), ValueError);
  EXPECT_THROW(tensor({1, 2.5}, DType::i32), ValueError);
  EXPECT_THROW(arange(0, 300, 1, DType::u8), ValueError);
  EXPECT_THROW(linspace(0, 300, 3, DType::u8), ValueError);
  EXPECT_EQ(full({}, -0x1p63, DType::i64).item<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(arange(250, 256, 1, DType::u8).numel(), 6);
  EXPECT_TRUE(std::isinf(full({}, 1e6, DType::f16).item())) << "floating dtypes round";
}

TEST(Linspace, ReachesTheEndsOfTheRange) {
  const double most = std::numeric_limits<double>::max();
  EXPECT_THAT(linspace(-most, most, 3, DType::f64).to_vector<double>(), ElementsAre(-most, 0, most));
  EXPECT_THAT(linspace(0, 1e308, 11, DType::f64).to_vector<double>(), testing::Each(testing::Le(1e308)));
  EXPECT_THAT(linspace(-3e38, 3e38, 3).to_vector<float>(), ElementsAre(-3e38f, 0, 3e38f));
  EXPECT_THROW(linspace(0, std::numeric_limits<double>::infinity(), 3), ValueError);
  EXPECT_THROW(linspace(std::nan(""), 1, 3), ValueError);
}

}  // namespace
