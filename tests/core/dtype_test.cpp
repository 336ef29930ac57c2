// Conversions between all dtypes, and the rounding of the 16-bit floating-point types.
#include <bobbin/device.h>
#include <bobbin/dtype.h>
#include <bobbin/error.h>
#include <bobbin/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

using namespace bobbin;
using testing::ElementsAre;
using testing::StrEq;
using testing::ThrowsMessage;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

// A 16-bit format by its parameters: what IEEE 754 says of binary16, and bfloat16 likewise.
struct Layout {
  int mantissa, bias;
  int infinity() const { return ((1 << (15 - mantissa)) - 1) << mantissa; }
};
constexpr Layout half{10, 15}, brain{7, 127};

// The value of a pattern, in double, where every one of them is exact.
double value(Layout f, std::uint16_t bits) {
  const int magnitude = bits & 0x7fff, exponent = magnitude >> f.mantissa;
  const int fraction = magnitude & ((1 << f.mantissa) - 1);
  double v =
      std::ldexp(fraction + (exponent ? 1 << f.mantissa : 0), std::max(exponent, 1) - f.bias - f.mantissa);
  if (magnitude == f.infinity()) v = inf;
  if (magnitude > f.infinity()) v = nan;
  return bits & 0x8000 ? -v : v;
}

// Rounds to nearest even with the arithmetic of double: it has digits to spare.
std::uint16_t nearest(Layout f, float x) {
  const int sign = std::signbit(x) ? 0x8000 : 0;
  const double a = std::abs(static_cast<double>(x));
  if (std::isinf(a)) return static_cast<std::uint16_t>(sign | f.infinity());
  const int exponent = std::max(a == 0 ? -10000 : std::ilogb(a), 1 - f.bias);
  const double steps =
      std::nearbyint(std::ldexp(a, f.mantissa - exponent));  // the default mode: ties to even
  // A carry out of the mantissa grows the exponent, and one out of the largest finite number gives infinity.
  const double bits = steps + std::ldexp(exponent + f.bias - 1, f.mantissa);
  return static_cast<std::uint16_t>(sign | static_cast<int>(std::min<double>(bits, f.infinity())));
}

template<class T>
::testing::AssertionResult rounds_correctly(Layout f, float x) {
  const std::uint16_t got = T(x).bits;
  if (std::isnan(x)) {
    if ((got & 0x7fff) > f.infinity() && (got >> 15) == std::signbit(x)) return ::testing::AssertionSuccess();
  } else if (got == nearest(f, x)) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << std::hexfloat << x << " became " << std::hex << got;
}

template<class T>
void check_round_trips(Layout f) {
  for (int bits = 0; bits < 65536; ++bits) {
    T t;
    t.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(t);
    if ((bits & 0x7fff) > f.infinity()) {
      ASSERT_TRUE(std::isnan(wide)) << bits;
      ASSERT_TRUE(rounds_correctly<T>(f, wide));
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), value(f, t.bits)) << bits;
    ASSERT_EQ(std::signbit(wide), bits >= 0x8000) << bits;
    ASSERT_EQ(T(wide).bits, bits);
  }
}

// Each value, the tie above it, and the floats next to both.
template<class T>
void check_every_tie(Layout f) {
  for (int bits = 0; bits < f.infinity(); ++bits) {
    const double low = value(f, static_cast<std::uint16_t>(bits));
    double high = value(f, static_cast<std::uint16_t>(bits + 1));
    if (std::isinf(high)) high = std::ldexp(1, f.bias + 1);  // what infinity stands for when rounding
    for (const double v : {low, low + (high - low) / 2}) {
      const auto x = static_cast<float>(v);
      ASSERT_EQ(static_cast<double>(x), v) << "a tie is a float";
      for (const float y : {x, std::nextafter(x, inf), std::nextafter(x, -inf)})
        for (const float z : {y, -y}) ASSERT_TRUE(rounds_correctly<T>(f, z));
    }
  }
}

template<class T>
void check_floats_of_every_exponent(Layout f) {
  for (std::uint64_t u = 0; u < std::uint64_t{1} << 32; u += 1987)
    ASSERT_TRUE(rounds_correctly<T>(f, std::bit_cast<float>(static_cast<std::uint32_t>(u))));
}

TEST(Half, EveryPatternRoundTrips) { check_round_trips<Half>(half); }
TEST(BFloat16, EveryPatternRoundTrips) { check_round_trips<BFloat16>(brain); }
TEST(Half, RoundsEveryTieToEven) { check_every_tie<Half>(half); }
TEST(BFloat16, RoundsEveryTieToEven) { check_every_tie<BFloat16>(brain); }
TEST(Half, RoundsFloatsOfEveryExponent) { check_floats_of_every_exponent<Half>(half); }
TEST(BFloat16, RoundsFloatsOfEveryExponent) { check_floats_of_every_exponent<BFloat16>(brain); }

#ifdef __FLT16_MANT_DIG__
TEST(Half, AgreesWithTheCompilersOwnType) {
  std::mt19937 bits(1);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits()));
    if (std::isnan(x)) continue;
    ASSERT_EQ(Half(x).bits, std::bit_cast<std::uint16_t>(static_cast<_Float16>(x))) << std::hexfloat << x;
  }
}
#endif

TEST(Half, HasTheEdgesOfBinary16) {
  EXPECT_EQ(Half(65504.0f).bits, 0x7bff);
  EXPECT_EQ(Half(65519.996f).bits, 0x7bff);
  EXPECT_EQ(Half(65520.0f).bits, 0x7c00) << "half way to 65536 goes to infinity";
  EXPECT_EQ(Half(-65520.0f).bits, 0xfc00);
  EXPECT_EQ(Half(std::numeric_limits<float>::max()).bits, 0x7c00);
  EXPECT_EQ(Half(0x1p-14f).bits, 0x0400) << "the smallest normal number";
  EXPECT_EQ(Half(0x1p-24f).bits, 0x0001) << "the smallest subnormal number";
  EXPECT_EQ(Half(0x1p-25f).bits, 0x0000) << "half of it is a tie, and 0 is even";
  EXPECT_EQ(Half(0x1.000002p-25f).bits, 0x0001);
  EXPECT_EQ(Half(0x1p-149f).bits, 0x0000);
  EXPECT_EQ(Half(-0.0f).bits, 0x8000);
}

TEST(BFloat16, HasTheEdgesOfAFloat) {
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::max()).bits, 0x7f80)
      << "rounds past the largest finite number";
  EXPECT_EQ(BFloat16(0x1.fep127f).bits, 0x7f7f);
  EXPECT_EQ(BFloat16(0x1p-133f).bits, 0x0001) << "the smallest subnormal number";
  EXPECT_EQ(BFloat16(0x1p-134f).bits, 0x0000);
  EXPECT_EQ(BFloat16(-0.0f).bits, 0x8000);
}

TEST(BFloat16, ANaNWhoseBitsAreAllInTheLowerHalfStaysNaN) {
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::bit_cast<float>(0xffffffffu)))));
  EXPECT_TRUE(std::isnan(static_cast<float>(Half(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, ConvertsAtCompileTime) {
  static_assert(Half(1.0f).bits == 0x3c00 && float(Half(-2.0f)) == -2.0f);
  static_assert(BFloat16(1.0f).bits == 0x3f80 && float(BFloat16(-2.0f)) == -2.0f);
  static_assert(dtype_of<std::int64_t>() == DType::i64 && dtype_of<long long>() == DType::i64);
  static_assert(Element<bool> && !Element<char> && !Element<unsigned> && !Element<long double>);
}

TEST(DType, NamesSizesAndTypesAgree) {
  const struct {
    DType dtype;
    std::string name;
    std::size_t size;
    bool floating;
  } rows[] = {{DType::f64, "f64", 8, true}, {DType::f32, "f32", 4, true},      {DType::bf16, "bf16", 2, true},
              {DType::f16, "f16", 2, true}, {DType::i64, "i64", 8, false},     {DType::i32, "i32", 4, false},
              {DType::u8, "u8", 1, false},  {DType::boolean, "bool", 1, false}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(name(row.dtype), row.name);
    std::ostringstream out;
    out << row.dtype;
    EXPECT_EQ(out.str(), row.name);
    EXPECT_EQ(size_of(row.dtype), static_cast<std::int64_t>(row.size));
    EXPECT_EQ(is_floating(row.dtype), row.floating);
    visit(row.dtype, [&]<class T>(Type<T>) {
      EXPECT_EQ(dtype_of<T>(), row.dtype);
      EXPECT_EQ(sizeof(T), row.size);
    });
  }
}

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};

TEST(DType, FloatingToIntegerTruncatesSaturatesAndTakesNaNToZero) {
  const Tensor t = tensor({1.9, -1.9, 255.5, 1e30, -1e30, inf, -inf, nan, -0.5}, DType::f64);
  constexpr auto i32 = std::numeric_limits<std::int32_t>::max();
  for (const auto dtype : {DType::f64, DType::f32}) {
    const Tensor x = empty({9}, dtype).copy_(t);
    EXPECT_THAT(x.to_vector<std::int32_t>(), ElementsAre(1, -1, 255, i32, -i32 - 1, i32, -i32 - 1, 0, 0));
    EXPECT_THAT(x.to_vector<std::int64_t>(),
                ElementsAre(1, -1, 255, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 0, 0));
    EXPECT_THAT(x.to_vector<std::uint8_t>(), ElementsAre(1, 0, 255, 255, 0, 255, 0, 0, 0));
  }
  EXPECT_THAT(empty({9}, DType::f16).copy_(t).to_vector<std::int64_t>(),
              ElementsAre(1, -1, 255, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 0, 0));
  EXPECT_EQ(t.to_vector<bool>(), std::vector<bool>(9, true)) << "NaN and fractions are not 0";
  EXPECT_EQ(tensor({0., -0.}).to_vector<bool>(), std::vector<bool>(2, false));
  EXPECT_EQ(tensor(2147483520).item<std::int32_t>(), 2147483520) << "the largest float below 2^31";
}

TEST(DType, EveryDtypeReachesEveryOther) {
  for (const auto from : all_dtypes)
    for (const auto to : all_dtypes) {
      const Tensor x = tensor({0, 1, 1, 0}, from);
      EXPECT_THAT(empty({4}, to).copy_(x).to_vector<double>(), ElementsAre(0, 1, 1, 0)) << from << to;
      EXPECT_THAT(empty({2, 2}, to).copy_(x.alias({2, 2}, {1, 2}, 0)).to_vector<double>(),
                  ElementsAre(0, 1, 1, 0))
          << from << to;
    }
}

TEST(Device, ParsesItsNamesAndPrintsThem) {
  EXPECT_EQ(Device::parse("cpu"), Device::cpu());
  EXPECT_EQ(Device::parse("cuda"), Device::cuda(0));
  EXPECT_EQ(Device::parse("cuda:0"), Device::cuda(0));
  EXPECT_EQ(Device::parse("cuda:17"), Device::cuda(17));
  EXPECT_EQ(Device(), Device::cpu());
  EXPECT_NE(Device::cuda(0), Device::cuda(1));
  for (const char* text : {"cpu", "cuda:0", "cuda:1023"}) {
    std::ostringstream out;
    out << Device::parse(text);
    EXPECT_EQ(out.str(), text);
  }
}

TEST(Device, RefusesWhatItCannotParse) {
  for (const char* text :
       {"", " cpu", "cpu ", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:1x", "cuda: 1", "cuda:+1", "cuda:-1",
        "cuda:-0", "cuda:1.5", "cuda:1024", "cuda:99999999999999999999", "cuda0", "gpu"})
    EXPECT_THAT([&] { Device::parse(text); },
                ThrowsMessage<ValueError>(
                    StrEq("device: expected cpu, cuda or cuda:N; got '" + std::string(text) + "'")))
        << text;
  EXPECT_THROW(Device::parse(std::string_view("cpu\0", 4)), ValueError);
}

}  // namespace
