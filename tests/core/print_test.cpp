// How tensors are printed.
#include <bobbin/tensor.h>
#include <gtest/gtest.h>

#include <limits>

using namespace bobbin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();

TEST(Print, AScalarHasNoBrackets) {
  EXPECT_EQ(to_string(tensor(3.14159)), "f32[]\n3.1416");
  EXPECT_EQ(to_string(tensor(5)), "f32[]\n5.");
  EXPECT_EQ(to_string(tensor(-7, DType::i32)), "i32[]\n-7");
  EXPECT_EQ(to_string(tensor(true, DType::boolean)), "bool[]\ntrue");
  EXPECT_EQ(to_string(tensor(-0.0)), "f32[]\n-0.");
}

TEST(Print, AVectorAlignsItsColumns) {
  EXPECT_EQ(to_string(tensor({1, -22, 333})), "f32[3]\n[  1., -22., 333.]");
  EXPECT_EQ(to_string(tensor({0.5, -10, 2.25}, DType::f64)), "f64[3]\n[  0.5000, -10.0000,   2.2500]");
  EXPECT_EQ(to_string(tensor({-5, 10, 0}, DType::i64)), "i64[3]\n[-5, 10,  0]");
  EXPECT_EQ(to_string(tensor({0, 255}, DType::u8)), "u8[2]\n[  0, 255]");
  EXPECT_EQ(to_string(tensor({1, 0}, DType::boolean)), "bool[2]\n[ true, false]");
  EXPECT_EQ(to_string(tensor({0.1, 0.25}, DType::bf16)), "bf16[2]\n[0.1001, 0.2500]");
}

TEST(Print, AMatrixHasARowALine) {
  EXPECT_EQ(to_string(tensor({{1.5, -2, 3}, {4, 5, 600}})),
            "f32[2,3]\n"
            "[[  1.5000,  -2.0000,   3.0000],\n"
            " [  4.0000,   5.0000, 600.0000]]");
}

TEST(Print, MatricesAreSetApartByAnEmptyLine) {
  EXPECT_EQ(to_string(tensor({{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}, DType::i64)),
            "i64[2,2,2]\n"
            "[[[1, 2],\n"
            "  [3, 4]],\n"
            "\n"
            " [[5, 6],\n"
            "  [7, 8]]]");
  EXPECT_EQ(to_string(zeros({1, 2, 1, 1})),
            "f32[1,2,1,1]\n"
            "[[[[0.]],\n"
            "\n"
            "  [[0.]]]]");
}

TEST(Print, ShowsInfinityAndNaNAmongTheOthers) {
  EXPECT_EQ(to_string(tensor({inf, -inf, nan, 1})), "f32[4]\n[ inf, -inf,  nan,   1.]");
  EXPECT_EQ(to_string(tensor({nan, .5}, DType::f16)), "f16[2]\n[   nan, 0.5000]");
  EXPECT_EQ(to_string(tensor({-nan})), "f32[1]\n[nan]");
}

TEST(Print, TurnsToPowersOfTenWhereDigitsWouldBeLost) {
  EXPECT_EQ(to_string(tensor({1e10, 1})), "f32[2]\n[1.0000e+10, 1.0000e+00]");
  EXPECT_EQ(to_string(tensor({1e-5, -2.5e-7}, DType::f64)), "f64[2]\n[ 1.0000e-05, -2.5000e-07]");
  EXPECT_EQ(to_string(tensor({1e5, 1e-3}, DType::f64)), "f64[2]\n[1.0000e+05, 1.0000e-03]");
  EXPECT_EQ(to_string(tensor({0, 1e-3})), "f32[2]\n[0.0000, 0.0010]") << "zero does not count as small";
  EXPECT_EQ(to_string(tensor(99999992)), "f32[]\n99999992.");
  EXPECT_EQ(to_string(tensor({inf, 1e9})), "f32[2]\n[       inf, 1.0000e+09]");
  EXPECT_EQ(to_string(tensor(std::numeric_limits<double>::denorm_min(), DType::f64)), "f64[]\n4.9407e-324");
}

TEST(Print, IntegersAreExact) {
  const std::vector<std::int64_t> v{9007199254740993, std::numeric_limits<std::int64_t>::max(),
                                    std::numeric_limits<std::int64_t>::min()};
  EXPECT_EQ(to_string(from_range(v)),
            "i64[3]\n[    9007199254740993,  9223372036854775807, -9223372036854775808]");
}

TEST(Print, ElidesLongAxesOfBigTensorsOnly) {
  EXPECT_EQ(to_string(arange(1001)), "i64[1001]\n[   0,    1,    2, ...,  998,  999, 1000]");
  const std::string whole = to_string(arange(1000));
  EXPECT_EQ(whole.find("..."), std::string::npos);
  EXPECT_TRUE(whole.starts_with("i64[1000]\n[  0,   1,   2,   3,"));
  EXPECT_TRUE(whole.ends_with(" 998, 999]"));
  EXPECT_EQ(to_string(zeros({40, 30})),
            "f32[40,30]\n"
            "[[0., 0., 0., ..., 0., 0., 0.],\n"
            " [0., 0., 0., ..., 0., 0., 0.],\n"
            " [0., 0., 0., ..., 0., 0., 0.],\n"
            " ...,\n"
            " [0., 0., 0., ..., 0., 0., 0.],\n"
            " [0., 0., 0., ..., 0., 0., 0.],\n"
            " [0., 0., 0., ..., 0., 0., 0.]]");
  EXPECT_EQ(to_string(arange(2002).alias({2, 1001}, {1001, 1}, 0)),
            "i64[2,1001]\n"
            "[[   0,    1,    2, ...,  998,  999, 1000],\n"
            " [1001, 1002, 1003, ..., 1999, 2000, 2001]]")
      << "a short axis is shown whole";
  EXPECT_EQ(to_string(zeros({7, 150, 1}, DType::u8)),
            "u8[7,150,1]\n"
            "[[[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]],\n\n"
            " [[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]],\n\n"
            " [[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]],\n\n"
            " ...,\n\n"
            " [[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]],\n\n"
            " [[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]],\n\n"
            " [[0],\n  [0],\n  [0],\n  ...,\n  [0],\n  [0],\n  [0]]]");
}

TEST(Print, WhatIsElidedDoesNotSetTheFormat) {
  Tensor x = ones({2000});
  x.mutable_data<float>()[1000] = 1e20f;
  EXPECT_EQ(to_string(x), "f32[2000]\n[1., 1., 1., ..., 1., 1., 1.]");
}

TEST(Print, ReadsViewsByTheirStrides) {
  const Tensor x = tensor({{1, 2, 3}, {4, 5, 6}});
  EXPECT_EQ(to_string(x.alias({3, 2}, {1, 3}, 0)),
            "f32[3,2]\n"
            "[[1., 4.],\n"
            " [2., 5.],\n"
            " [3., 6.]]");
  EXPECT_EQ(to_string(x.alias({2, 2}, {0, 1}, 4)),
            "f32[2,2]\n"
            "[[5., 6.],\n"
            " [5., 6.]]");
  EXPECT_EQ(to_string(x.alias({3}, {-2}, 5)), "f32[3]\n[6., 4., 2.]");
}

TEST(Print, EmptyTensorsShowTheirShape) {
  EXPECT_EQ(to_string(zeros({0})), "f32[0]\n[]");
  EXPECT_EQ(to_string(zeros({0, 3})), "f32[0,3]\n[]");
  EXPECT_TRUE(to_string(zeros({2, 0}, DType::boolean)).starts_with("bool[2,0]\n["));
}

TEST(Print, AnEmptyTensorOfManyRowsIsNotPrintedRowByRow) {
  EXPECT_LT(to_string(zeros({5000, 0})).size(), 2000u);
}

TEST(Print, SaysWhetherAGradientIsNeeded) {
  EXPECT_EQ(to_string(tensor({1, 2}).set_requires_grad()), "f32[2] requires_grad\n[1., 2.]");
}

TEST(Print, AnUndefinedTensorSaysSo) { EXPECT_EQ(to_string(Tensor()), "undefined tensor"); }

TEST(Print, LeavesTheFormatOfTheStreamAlone) {
  std::ostringstream out;
  out << std::hex << tensor({255, 0}, DType::i64) << ' ' << 255;
  EXPECT_EQ(out.str(), "i64[2]\n[255,   0] ff");
}

}  // namespace
