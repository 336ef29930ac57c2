// Under a global locale that groups digits, files and messages are what they are in C's.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <locale>
#include <sstream>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
using testing::HasSubstr;

namespace {

struct German final : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

struct Locale : tests::TemporaryDirectory {
  Locale() { std::locale::global(std::locale(std::locale::classic(), new German)); }
  ~Locale() override { std::locale::global(std::locale::classic()); }
  std::string read() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(Locale, FilesDoNotFollowIt) {
  std::ostringstream grouped;
  grouped << 2000;
  ASSERT_EQ(grouped.str(), "2.000") << "the locale of the test";
  save_npy(path, zeros({2000}));
  EXPECT_THAT(read(), HasSubstr("'shape': (2000, )"));
  EXPECT_EQ(load_npy(path).shape(), (Shape{2000}));
  save_npz(path, {{"a", zeros({2000})}});
  EXPECT_EQ(load_npz(path).at("a").shape(), (Shape{2000}));
  save_safetensors(path, {{{"a", zeros({2000})}}, {}});
  EXPECT_THAT(read(), HasSubstr("\"shape\":[2000],\"data_offsets\":[0,8000]"));
  EXPECT_EQ(load_safetensors(path).at("a").shape(), (Shape{2000}));
  MetricsLog(path).add(1000, {{"loss", 1234.5}});
  EXPECT_EQ(read(), "step,loss\n1000,1234.5\n");
  EXPECT_EQ(read_csv(path).values.to_vector<float>(), (std::vector<float>{1000, 1234.5}));
  Profiler profiler;
  relu(zeros({2000}));
  profiler.write_trace(path);
  EXPECT_THAT(read(), HasSubstr("f32[2000]"));
}

TEST_F(Locale, MessagesAndTextDoNotFollowIt) {
  const Tensor x = ones({2000}).set_requires_grad();
  EXPECT_THAT(to_dot(relu(x)), HasSubstr("f32[2000]"));
  EXPECT_THAT(to_string(arange(2000)), HasSubstr("i64[2000]"));
  EXPECT_THAT(to_string(full({1}, 1234.5)), HasSubstr("1234.5"));
  nn::Linear layer(2000, 3);
  EXPECT_THAT(nn::summary(layer), HasSubstr("f32[3,2000]"));
  try {
    reshape(x, {3000});
    ADD_FAILURE();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), HasSubstr("2000"));
    EXPECT_THAT(e.what(), HasSubstr("3000"));
  }
  try {
    fail<ValueError>("expected ", 2000, " or ", 0.5);
  } catch (const ValueError& e) {
    EXPECT_STREQ(e.what(), "expected 2000 or 0.5");
  }
  try {
    load_state("model", {{"w", x}}, {{"w", zeros({3000})}});
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_STREQ(e.what(), "model: the state does not fit: 'w' is f32[3000], not f32[2000]");
  }
}

}  // namespace
