// Safetensors files: round trips, and files that are rejected.
#include <bobbin/elementwise.h>
#include <bobbin/safetensors.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

namespace {

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string file_of(std::string_view header, std::string_view body) {
  const std::uint64_t n = header.size();
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(n >> 8 * i);
  return bytes.append(header).append(body);
}

struct Safetensors : tests::TemporaryDirectory {
  Safetensors() : TemporaryDirectory("model.safetensors") {}
  TensorFile loaded(std::string_view header, std::size_t body_bytes) const {
    return load_safetensors(written(file_of(header, std::string(body_bytes, '\1'))));
  }
  std::string sample() const {
    save_safetensors(path, {{{"a", arange(3)}, {"b", tensor({1, 0}, DType::boolean)}, {"e", zeros({0, 3})}},
                            {{"k", "v"}}});
    return read(path);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir)) found.push_back(entry.path().filename());
    return found;
  }
  void expect_untouched() const {  // the old file as it was, and nothing beside it
    EXPECT_EQ(read(path), "precious");
    EXPECT_THAT(names(), ElementsAre("model.safetensors"));
  }
  template<class E>
  auto names_the_file(const std::string& part = "") const {
    return ThrowsMessage<E>(
        AllOf(HasSubstr("safetensors: " + path.string()), HasSubstr(part), Not(HasSubstr("\n"))));
  }
};

TEST_F(Safetensors, EveryDtypeAndLayoutComesBackToTheBit) {
  TensorFile file;
  for (const auto d :
       {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    const std::string n(name(d));
    const Tensor t = to(arange(24), d);
    file.tensors[n] = t.alias({2, 3, 4}, {12, 4, 1}, 0);
    file.tensors[n + ".strided"] = t.alias({4, 3}, {2, 8}, 1);
    file.tensors[n + ".repeated"] = t.alias({3, 2}, {0, 1}, 5);
    file.tensors[n + ".scalar"] = t.alias({}, {}, 7);
    file.tensors[n + ".empty"] = zeros({0, 3}, d);
  }
  file.tensors["odd floats"] = from_range(std::vector{-0.0f, std::nanf("7"), HUGE_VALF, 1e-45f});
  file.tensors["large"] = arange(300'000).alias({500, 600}, {1, 500}, 0);
  file.tensors[""] = tensor(1);
  file.tensors["\"quoted\\\"\n\t\u00e9\u4e2d"] = tensor(2).set_requires_grad();
  file.metadata = {{"format", "pt"}, {"", "empty"}, {"note", "a \"b\"\n\u00e9"}};
  save_safetensors(path, file);
  const TensorFile back = load_safetensors(path);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [key, t] : file.tensors) {
    SCOPED_TRACE(key);
    ASSERT_TRUE(back.tensors.contains(key));
    const Tensor& got = back.tensors.at(key);
    ASSERT_EQ(got.spec(), t.spec());
    const Tensor straight = empty(t.spec()).copy_(t.detach());
    const auto bytes = static_cast<std::size_t>(t.numel() * size_of(t.dtype()));
    EXPECT_TRUE(bytes == 0 || std::memcmp(got.raw(), straight.raw(), bytes) == 0);
  }
}

TEST_F(Safetensors, WritesWhatTheFormatSays) {
  save_safetensors(path, {{{"a", tensor({1, 2})}, {"b", tensor({{0, 1}}, DType::boolean)}}, {{"k", "v"}}});
  const std::string bytes = read(path);
  const std::size_t length = static_cast<unsigned char>(bytes[0]);
  EXPECT_EQ(bytes.substr(1, 7), std::string(7, '\0')) << "eight bytes, little-endian";
  EXPECT_EQ(length % 8, 0u) << "the elements start aligned";
  std::string header = bytes.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  EXPECT_EQ(header, R"({"__metadata__":{"k":"v"},)"
                    R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("b":{"dtype":"BOOL","shape":[1,2],"data_offsets":[8,10]}})");
  EXPECT_EQ(bytes.substr(8 + length), std::string("\0\0\x80\x3f\0\0\0\x40\0\1", 10));
  save_safetensors(path, {});
  EXPECT_EQ(read(path), file_of("{}      ", ""));
}

TEST_F(Safetensors, ReadsWhatOthersMayWrite) {
  const auto file = loaded(R"( {"b":{"shape":[],"data_offsets":[4,5],"dtype":"U8","more":null},
      "e":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]}, "a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}} )",
                           5);
  EXPECT_EQ(file.tensors.at("b").item(), 1);
  EXPECT_EQ(file.tensors.at("a").item(), 0x01010101);
  EXPECT_EQ(file.tensors.at("e").shape(), (Shape{3, 0}));
  EXPECT_NO_THROW(
      loaded(R"({"a":{"dtype":"F32","shape":[4611686018427387904,0,8],"data_offsets":[0,0]}})", 0));
}

TEST_F(Safetensors, AHeaderThatIsNotTheFormatThrows) {
  for (const char* header : {"",
                             "{",
                             "{}}",
                             "\n\n{\n",
                             "{\"\xff\":{}}",
                             "nonsense",
                             "[]",
                             "null",
                             "5",
                             "\"text\"",
                             R"({"a":null})",
                             R"({"a":[]})",
                             R"({"a":{}})",
                             R"({"__metadata__":{"k":1}})",
                             R"({"__metadata__":[]})",
                             R"({"__metadata__":"text"})",
                             R"({"a":{"shape":[0],"data_offsets":[0,0]}})",
                             R"({"a":{"dtype":"F32","data_offsets":[0,0]}})",
                             R"({"a":{"dtype":"F32","shape":[0]}})",
                             R"({"a":{"dtype":5,"shape":[0],"data_offsets":[0,0]}})",
                             R"({"a":{"dtype":"f32","shape":[0],"data_offsets":[0,0]}})"})
    EXPECT_THAT([&] { loaded(header, 0); }, names_the_file<FormatError>()) << header;
  const std::string open(300'000, '['), close(300'000, ']');
  EXPECT_THAT([&] { loaded(open, 0); }, names_the_file<FormatError>()) << "nested deeply";
  EXPECT_THAT([&] { loaded("{\"a\":" + open + close + "}", 0); }, names_the_file<FormatError>());
}

TEST_F(Safetensors, AShapeOrOffsetsThatDoNotFitThrow) {
  std::istringstream shapes(
      R"(1 null "1" {"n":1} ["1"] [1.5] [1.0] [true] [[1]] [-1] [-1,-1] [2] [0] [1,1,1,1,1,1,1,1,1] [1e300]
         [4611686018427387904] [4611686018427387904,4] [4611686018427387905,4] [18446744073709551615]
         [18446744073709551617])");
  for (std::string shape; shapes >> shape;)
    EXPECT_THAT([&] { loaded(R"({"a":{"dtype":"F32","data_offsets":[0,4],"shape":)" + shape + "}}", 4); },
                names_the_file<FormatError>())
        << shape;
  std::istringstream places(
      R"([0,8] [4,0] [0,0] [-4,0] [0.5,4] [0.0,4.0] [0,1e300] [false,4] ["0","4"] [0] [] [0,4,8] 4 null
         {"begin":0} [18446744073709551612,18446744073709551616])");
  for (std::string offsets; places >> offsets;)
    EXPECT_THAT([&] { loaded(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}}", 4); },
                names_the_file<FormatError>())
        << offsets;
}

TEST_F(Safetensors, TensorsThatOverlapOrLeaveBytesOverThrow) {
  // The bytes there are; then where each tensor begins and ends.
  for (const std::vector<int>& v : {std::vector{1},
                                    {8, 0, 4},
                                    {8, 4, 8},
                                    {5, 0, 2, 3, 5},
                                    {3, 0, 2, 1, 3},
                                    {2, 0, 2, 0, 2},
                                    {2, 0, 1, 0, 2},
                                    {2, 0, 2, 0, 1, 1, 2},
                                    {3, 0, 3, 1, 1}}) {
    std::ostringstream header;
    for (std::size_t i = 1; i < v.size(); i += 2)
      header << (i == 1 ? "{\"t" : ",\"t") << i << R"(":{"dtype":"U8","shape":[)" << v[i + 1] - v[i]
             << R"(],"data_offsets":[)" << v[i] << ',' << v[i + 1] << "]}";
    header << (v.size() == 1 ? "{}" : "}");
    EXPECT_THAT([&] { loaded(header.str(), static_cast<std::size_t>(v[0])); }, names_the_file<FormatError>())
        << header.str();
  }
}

TEST_F(Safetensors, AFormatErrorSaysWhatIsWrong) {
  EXPECT_THAT([&] { loaded(R"({"w.1":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1); },
              names_the_file<FormatError>("tensor 'w.1' has dtype F8_E4M3, which bobbin does not hold"));
  written(file_of(R"({"m":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", {"\0\1\2", 3}));
  EXPECT_THAT([&] { load_safetensors(path); },
              names_the_file<FormatError>("tensor 'm' holds a bool that is neither 0 nor 1"));
  written("\xff\xff\xff\xff\xff\xff\xff\x7f{}");
  EXPECT_THAT([&] { load_safetensors(path); },
              names_the_file<FormatError>("a header of 9223372036854775807 bytes does not fit the file"));
}

TEST_F(Safetensors, AFileCutAnywhereThrows) {
  const std::string whole = sample();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    written(whole.substr(0, n));
    EXPECT_THAT([&] { load_safetensors(path); }, names_the_file<FormatError>()) << n;
  }
}

TEST_F(Safetensors, BytesFlippedAtRandomLoadOrThrowAnErrorOfBobbin) {
  const std::string whole = sample();
  std::mt19937 random(20);
  int loads = 0, errors = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = whole;
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      char& b = bytes[random() % bytes.size()];
      const std::string_view likely = "0123456789-[]{}\",:.e \\\n";
      b = random() % 2 ? likely[random() % likely.size()] : static_cast<char>(random());
    }
    if (i % 5 == 0) bytes.resize(random() % (bytes.size() + 9));
    written(bytes);
    try {
      for (const auto& [key, t] : load_safetensors(path).tensors) t.to_vector<double>();
      ++loads;
    } catch (const Error& e) {
      ++errors;
      ASSERT_THAT(e.what(), AllOf(HasSubstr(path.string()), Not(HasSubstr("\n"))));
    }
  }
  EXPECT_GT(loads, 100);
  EXPECT_GT(errors, 1000);
}

TEST_F(Safetensors, WhatCannotBeOpenedThrowsAnIoError) {
  EXPECT_THAT([&] { load_safetensors(path); }, names_the_file<IoError>());
  fs::create_directory(path);
  EXPECT_THAT([&] { load_safetensors(path); }, names_the_file<IoError>("is not a regular file"));
  EXPECT_THAT([&] { save_safetensors(path, {}); }, names_the_file<IoError>());
  EXPECT_THAT(names(), ElementsAre("model.safetensors")) << "a temporary file was left";
  EXPECT_THROW(save_safetensors(dir / "missing" / "x", {}), IoError);
}

TEST_F(Safetensors, ASaveReplacesTheOldFileWholeOrNotAtAll) {
  written("precious");
  const TensorFile large{{{"a", zeros({100'000})}}, {}};
  auto save = [&] { save_safetensors(path, large); };
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{65536, before.rlim_max};  // as a disk that is full
  std::signal(SIGXFSZ, SIG_IGN), ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THAT(save, names_the_file<IoError>("cannot be written"));
  ::setrlimit(RLIMIT_FSIZE, &before), std::signal(SIGXFSZ, SIG_DFL);
  expect_untouched();
  if (::geteuid() != 0) {  // root may write anywhere
    fs::permissions(dir, fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_THAT(save, names_the_file<IoError>());
    fs::permissions(dir, fs::perms::owner_all);
    expect_untouched();
  }
  save();
  EXPECT_EQ(load_safetensors(path).tensors.at("a").numel(), 100'000);
  EXPECT_THAT(names(), ElementsAre("model.safetensors"));
}

TEST_F(Safetensors, WhatTheFormatCannotHoldLeavesTheOldFile) {
  written("precious");
  EXPECT_THROW(save_safetensors(path, {{{"a", Tensor()}}, {}}), Error);
  EXPECT_THROW(save_safetensors(path, {{{"\xff", tensor(1)}}, {}}), Error) << "a name that is not UTF-8";
  EXPECT_THROW(save_safetensors(path, {{}, {{"k", "\xff"}}}), Error);
  EXPECT_THROW(save_safetensors(path, {{{"__metadata__", tensor(1)}}, {}}), Error) << "that name is taken";
  expect_untouched();
}

}  // namespace
