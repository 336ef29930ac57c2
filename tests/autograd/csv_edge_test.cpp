// CSV at its edges: exact integers, places of errors, byte order marks; and MetricsLog, whose tables read_csv
// reads.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

namespace {

struct CsvEdge : tests::TemporaryDirectory {
  CsvEdge() : TemporaryDirectory("table.csv") {}
  Tensor table(const std::string& text, DType d) const {
    return read_csv(written(text), {.header = false, .dtype = d}).values;
  }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  auto format_error(const std::string& part) const {
    return ThrowsMessage<FormatError>(AllOf(HasSubstr(path.string()), HasSubstr(part)));
  }
};

TEST_F(CsvEdge, IntegersAreExact) {
  EXPECT_EQ(table("9223372036854775807\n-9223372036854775808\n9007199254740993\n", DType::i64)
                .to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{INT64_MAX, INT64_MIN, 9007199254740993}));
  EXPECT_EQ(table("3,3.0,3e2,+7, -0 \n", DType::i64).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{3, 3, 300, 7, 0}));
  EXPECT_EQ(table("0,255\n", DType::u8).to_vector<std::int64_t>(), (std::vector<std::int64_t>{0, 255}));
  EXPECT_EQ(table("1,0\n", DType::boolean).to_vector<std::int64_t>(), (std::vector<std::int64_t>{1, 0}));
  for (const auto& [text, dtype] : {std::pair{"2.5", DType::i64},
                                    {"9223372036854775808", DType::i64},
                                    {"1e19", DType::i64},
                                    {"nan", DType::i64},
                                    {"9.007199254740993e15", DType::i64},
                                    {"inf", DType::i32},
                                    {"2147483648", DType::i32},
                                    {"256", DType::u8},
                                    {"-1", DType::u8},
                                    {"0.5", DType::u8},
                                    {"2", DType::boolean}}) {
    const auto read = [&, t = std::string("0,") + text + "\n", d = dtype] { table(t, d); };
    EXPECT_THAT(read, format_error("line 1, column 2, record 1: '" + std::string(text) + "' is no value of"))
        << text;
  }
  EXPECT_THAT([&] { table("1,\n", DType::i64); }, format_error("an empty field is no value of i64"));
}

TEST_F(CsvEdge, FloatsAreRoundedOnceAndStayInRange) {
  // Just above the middle of two floats, by less than a double sees.
  EXPECT_EQ(table("1.00000005960464477539062500001\n", DType::f32).item(), std::nextafter(1.0F, 2.0F));
  EXPECT_EQ(table("1e-50\n", DType::f32).item(), 0);
  EXPECT_EQ(table("65504\n", DType::f16).item(), 65504);
  EXPECT_EQ(table("inf,-inf\n", DType::f32).to_vector<float>(), (std::vector<float>{HUGE_VALF, -HUGE_VALF}));
  EXPECT_THAT([&] { table("1e39\n", DType::f32); }, format_error("'1e39' is out of range of f32"));
  EXPECT_THAT([&] { table("70000\n", DType::f16); }, format_error("'70000' is out of range of f16"));
  for (const char* text : {"++1", "+-1", "-+1", "+", "1 2", "0x10", "1,5e", "1_0", "1d3"})
    EXPECT_THAT([&] { table(std::string(text) + ",0\n", DType::f64); }, format_error("is no number")) << text;
}

TEST_F(CsvEdge, ErrorsSayLineAndColumn) {
  written("a,\"b\nc\",d\n1,2,3\n\n4,x,6\n");
  EXPECT_THAT([&] { read_csv(path); }, format_error("line 5, column 2 ('b\nc'), record 3: 'x' is no number"));
  written("a,b\n1,2\n1\n");
  EXPECT_THAT([&] { read_csv(path); },
              format_error("line 3, column 2 ('b'), record 3: expected 2 fields; got 1"));
  EXPECT_THAT([&] { read_csv(written("a\n\"1\n")); }, format_error("line 2, column 1"));
  EXPECT_THAT([&] { read_csv(written("a\n\"1\"2\n")); }, format_error("line 2, column 1"));
  EXPECT_THAT([&] { read_csv(written("a\n" + std::string(2 << 20, '1'))); },
              format_error("a field of more than"));
  for (const char* none : {"", "\xEF\xBB\xBF", "\n\n"}) {
    EXPECT_THAT([&] { read_csv(written(none)); }, format_error("line 1, column 1: it holds no record"));
    EXPECT_THAT([&] { table(none, DType::f32); }, format_error("it holds no record"));
  }
  EXPECT_EQ(read_csv(written("a,b\n")).values.shape(), (Shape{0, 2}));
  EXPECT_THROW(read_csv(path, {.separator = '"'}), ValueError);
}

TEST_F(CsvEdge, AByteOrderMarkIsNoPartOfAName) {
  const Csv csv = read_csv(written("\xEF\xBB\xBFx,y\n1,2\n"));
  EXPECT_THAT(csv.columns, ElementsAre("x", "y"));
  EXPECT_EQ(table("\xEF\xBB\xBF\"7\"\n", DType::i64).item(), 7);
  EXPECT_THROW(read_csv(written("x,x\n1,2\n"))["x"], ValueError) << "two columns of this name";
}

TEST_F(CsvEdge, ColumnsOfALogMayHaveAnyName) {
  MetricsLog(path).add(1, {{"a,b", 1}, {"say \"hi\"", 2}, {"two\nlines", 3}, {"", 4}});
  const Csv csv = read_csv(path);
  EXPECT_THAT(csv.columns, ElementsAre("step", "a,b", "say \"hi\"", "two\nlines", ""));
  EXPECT_EQ(csv.values.to_vector<float>(), (std::vector<float>{1, 1, 2, 3, 4}));
}

TEST_F(CsvEdge, NamesInALogOfJsonAreUtf8) {
  const auto lines = dir / "run.jsonl";
  MetricsLog(lines).add(
      1, {{"\u00e9\"\n", 1}, {"\xff\xc0\x80\xed\xa0\x80\xe2\x82", 2}, {"\xf0\x9f\x98\x80", 3}});
  std::ostringstream text;
  text << std::ifstream(lines).rdbuf();
  std::string unknown;
  for (int i = 0; i < 8; ++i) unknown += "\xEF\xBF\xBD";
  EXPECT_EQ(text.str(),
            "{\"step\":1,\"\u00e9\\\"\\n\":1.0,\"" + unknown + "\":2.0,\"\xf0\x9f\x98\x80\":3.0}\n");
}

TEST_F(CsvEdge, AResumedLogContinues) {
  for (int run = 0; run < 2; ++run) {
    MetricsLog log(path, MetricsLog::Mode::append);
    EXPECT_THROW(run ? log.add(1, {{"other", 1}}) : fail<ValueError>(""), ValueError);
    log.add(run, {{"loss", .5}, {"a,b", 1}});
  }
  EXPECT_EQ(read(), "step,loss,\"a,b\"\n0,0.5,1\n1,0.5,1\n");
  // A last line that was cut off goes.
  std::ofstream(path, std::ios::app) << "2,0.";
  MetricsLog(path, MetricsLog::Mode::append).add(2, {{"loss", .25}, {"a,b", 1}});
  EXPECT_EQ(read(), "step,loss,\"a,b\"\n0,0.5,1\n1,0.5,1\n2,0.25,1\n");
  written("step,lo");
  MetricsLog(path, MetricsLog::Mode::append).add(7, {{"loss", 1}});
  EXPECT_EQ(read(), "step,loss\n7,1\n");
  written("something else\n");
  EXPECT_THAT([&] { MetricsLog(path, MetricsLog::Mode::append); }, format_error("line 1, column 1"));
  EXPECT_EQ(read(), "something else\n");
  MetricsLog(path).add(1, {{"loss", 1}});
  EXPECT_EQ(read(), "step,loss\n1,1\n");
  const auto lines = dir / "run.jsonl";
  for (int run = 0; run < 2; ++run) MetricsLog(lines, MetricsLog::Mode::append).add(run, {{"x", 1}});
  std::ostringstream text;
  text << std::ifstream(lines).rdbuf();
  EXPECT_EQ(text.str(), "{\"step\":0,\"x\":1.0}\n{\"step\":1,\"x\":1.0}\n");
}

}  // namespace
