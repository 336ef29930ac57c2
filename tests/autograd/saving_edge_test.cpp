// NumPy's and safetensors files of other programs: valid ones that are unusual, malformed ones, and what
// Bobbin does not hold.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <sstream>
#include <thread>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

namespace {

std::string little(std::uint64_t n, std::size_t bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(n >> 8 * i);
  return out;
}

struct SavingEdge : tests::TemporaryDirectory {
  fs::path npy(const std::string& header, const std::string& body, int version = 1, int minor = 0) const {
    const std::string start = "\x93NUMPY" + std::string{static_cast<char>(version), static_cast<char>(minor)};
    return written(start + little(header.size(), version == 1 ? 2 : 4) + header + body);
  }
  Tensor array(const std::string& descr, const std::string& shape, const std::string& body,
               const ReadOptions& o = {}) const {
    return load_npy(npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }", body),
                    o);
  }
  fs::path safetensors(const std::string& header, const std::string& body) const {
    return written(little(header.size(), 8) + header + body);
  }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  auto format_error(const std::string& part) const {
    return ThrowsMessage<FormatError>(AllOf(HasSubstr(path.string()), HasSubstr(part), Not(HasSubstr("\n"))));
  }
};

// A header of a regular expression's stack depth and more, up to what the field can say.
TEST_F(SavingEdge, NpyHeadersMayBePaddedToTheFieldsLimit) {
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
                    one("\0\0\x80\x3f", 4);
  for (const std::size_t length : {26'000UL, 65'535UL})
    EXPECT_EQ(load_npy(npy(header + std::string(length - header.size(), ' '), one)).item(), 1) << length;
  for (const int version : {2, 3})
    EXPECT_EQ(load_npy(npy(header + std::string(3'000'000, ' ') + "\n", one, version)).item(), 1) << version;
}

TEST_F(SavingEdge, NpyKeysComeInAnyOrder) {
  const std::string body("\1\2\3\4\5\6", 6);
  for (const char* header : {"{'shape': (2, 3), 'fortran_order': False, 'descr': '|u1'}",
                             "{\"fortran_order\": False,\"shape\":(2,3,),\"descr\":\"|u1\",}\n",
                             " { 'descr' : '|u1' , 'shape' : ( 2L , 3L ) , 'fortran_order' : False } "}) {
    const Tensor t = load_npy(npy(header, body));
    EXPECT_EQ(t.shape(), (Shape{2, 3})) << header;
    EXPECT_EQ(t.at({1, 0}), 4);
  }
}

TEST_F(SavingEdge, NpyDtypesHaveSeveralNames) {
  for (const char* name : {"|u1", "<u1", ">u1", "=u1", "u1"}) {
    const Tensor t = array(name, "(2,)", "\7\xff");
    EXPECT_EQ(t.dtype(), DType::u8) << name;
    EXPECT_EQ(t.at({1}), 255) << name;
  }
  for (const char* name : {"<f4", "=f4", "f4", "|f4"})
    EXPECT_EQ(array(name, "()", std::string("\0\0\xc0\x3f", 4)).item(), 1.5) << name;
  for (const char* name : {"?", "|b1", "b1", "<?"})
    EXPECT_EQ(array(name, "(1,)", "\1").dtype(), DType::boolean);
}

TEST_F(SavingEdge, NpyBigEndianIsTurned) {
  EXPECT_EQ(array(">f4", "(2,)", std::string("\x3f\xc0\0\0\xc0\0\0\0", 8)).to_vector<float>(),
            (std::vector<float>{1.5, -2}));
  EXPECT_EQ(array(">f8", "(1,)", std::string("\x3f\xf0\0\0\0\0\0\0", 8)).item(), 1);
  EXPECT_EQ(array(">f2", "(1,)", std::string("\x3c\0", 2)).item(), 1);
  EXPECT_EQ(array(">i8", "(1,)", std::string(6, '\xff') + "\xff\xfe").item<std::int64_t>(), -2);
  EXPECT_EQ(array(">i4", "(1,)", std::string("\1\2\3\4", 4)).item<std::int64_t>(), 0x01020304);
  const Tensor t = load_npy(npy("{'descr': '>i4', 'fortran_order': True, 'shape': (2, 2)}",
                                std::string("\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4", 16)));
  EXPECT_EQ(t.to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, 3, 2, 4}));
}

TEST_F(SavingEdge, OtherIntegersAreConvertedWhenAsked) {
  const ReadOptions convert{.convert = true};
  for (const char* name : {"i1", "<i2", "<u2", "<u4", "<u8"})
    EXPECT_THAT([&] { array(name, "(0,)", ""); }, format_error("ReadOptions::convert reads it")) << name;
  const Tensor a = array("i1", "(2,)", "\x80\x7f", convert);
  EXPECT_EQ(a.dtype(), DType::i32);
  EXPECT_EQ(a.to_vector<std::int64_t>(), (std::vector<std::int64_t>{-128, 127}));
  EXPECT_EQ(array(">i2", "(1,)", "\xff\xfe", convert).item(), -2);
  EXPECT_EQ(array("<u2", "(1,)", "\xff\xff", convert).item(), 65535);
  EXPECT_EQ(array("<u4", "(1,)", "\xff\xff\xff\xff", convert).item<std::int64_t>(), 4294967295);
  EXPECT_EQ(array("<u4", "(1,)", "\xff\xff\xff\xff", convert).dtype(), DType::i64);
  EXPECT_EQ(array("<u8", "(1,)", std::string(7, '\xff') + "\x7f", convert).item<std::int64_t>(), INT64_MAX);
  EXPECT_THAT([&] { array("<u8", "(1,)", std::string(8, '\xff'), convert); },
              format_error("18446744073709551615, which is no value of i64"));
  EXPECT_THAT([&] { array("|b1", "(2,)", "\1\5"); }, format_error("a bool that is neither 0 nor 1"));
  EXPECT_EQ(array("|b1", "(3,)", std::string("\1\5\0", 3), convert).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{1, 1, 0}));
  const Tensor many = array("<u2", "(40000,)", std::string(80'000, '\1'), convert);  // more than a block
  EXPECT_EQ(sum(to(many, DType::i64)).item<std::int64_t>(), 40'000 * 257);
}

TEST_F(SavingEdge, MalformedNpyIsRefusedWithItsPlace) {
  const auto shape = [&](const std::string& s) { return [&, s] { array("<f4", s, std::string(8, '\0')); }; };
  for (const char* s :
       {"(2,,)", "(,)", "(2 1)", "(-2,)", "(02,)", "(2)", "2", "[2]", "(2.0,)", "(2,", "(+2,)", "(1e0,)",
        "(99999999999999999999,)", "()", "(3,)", "(4611686014132420609, 4,)"})
    EXPECT_THAT(shape(s), format_error("")) << s;
  EXPECT_THAT(shape("(2)"), format_error("header, line 1, column 54"));
  EXPECT_THAT(shape("(1,1,1,1,1,1,1,1,2)"), format_error("9 dimensions"));
  const std::string valid = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }";
  for (const int version : {0, 4, 9})
    EXPECT_THAT([&] { load_npy(npy(valid, "x", version)); }, format_error("version"));
  EXPECT_THAT([&] { load_npy(npy(valid, "x", 1, 1)); }, format_error("version 1.1"));
  for (const char* header :
       {"{'descr': '|u1', 'fortran_order': False, 'shape': (1,), } x", "{'descr': '|u1', 'shape': (1,), }",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u1', 'fortran_order': false, 'shape': (1,), }",
        "{'descr': '|u1' 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<u9', 'fortran_order': False, 'shape': (1,), }", "{", "", "{'descr': '|u1"})
    EXPECT_THAT([&] { load_npy(npy(header, "x")); }, format_error("")) << header;
  EXPECT_THAT([&] { load_npy(npy(valid, "xy")); }, format_error("2 bytes of elements"));
  EXPECT_THAT([&] { load_npy(written("")); }, format_error("empty"));
}

TEST_F(SavingEdge, FilesThatAreNoRegularOnesAreRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  for (const fs::path& p : {path, fs::path("/dev/zero"), dir}) {
    EXPECT_THROW(load_npy(p), IoError) << p;
    EXPECT_THROW(load_npz(p), IoError) << p;
    EXPECT_THROW(load_safetensors(p), IoError) << p;
    EXPECT_THROW(map_safetensors(p), IoError) << p;
    EXPECT_THROW(read_csv(p), IoError) << p;
    EXPECT_THROW(read_idx(p), IoError) << p;
  }
  EXPECT_THROW(MetricsLog{path}, IoError);
}

TEST_F(SavingEdge, AnArchiveOfNothingComesBack) {
  save_npz(path, {});
  EXPECT_EQ(read(), "PK\5\6" + std::string(18, '\0'));  // as numpy.savez writes it
  EXPECT_TRUE(load_npz(path).empty());
  EXPECT_THAT([&] { load_npz(written("")); }, format_error("empty"));
}

// Zip archives of stored members, which save_npz does not write.
struct Stored {
  std::string body, directory;
  int count = 0;
  void add(const std::string& name, const std::string& data, std::uint64_t size, std::uint32_t crc) {
    const std::string fields = little(20, 2) + little(0, 4) + little(0, 4) + little(crc, 4) +
                               little(data.size(), 4) + little(size, 4) + little(name.size(), 2) +
                               little(0, 2);
    directory += "PK\1\2" + little(20, 2) + fields + little(0, 10) + little(body.size(), 4) + name;
    body += "PK\3\4" + fields + name + data;
    ++count;
  }
  std::string bytes() const {
    return body + directory + "PK\5\6" + little(0, 4) + little(count, 2) + little(count, 2) +
           little(directory.size(), 4) + little(body.size(), 4) + little(0, 2);
  }
};

TEST_F(SavingEdge, ArchivesWithANameTwiceOrFalseSumsAreRefused) {
  Stored twice;
  twice.add("a.npy", "x", 1, 0x8cdc1683), twice.add("a", "x", 1, 0x8cdc1683);
  EXPECT_THAT([&] { load_npz(written(twice.bytes())); }, format_error("is there twice"));
  save_npz(path, {{"a", arange(40)}});
  const std::string whole = read();
  int refused = 0;
  for (std::size_t i = 30; i < whole.size(); ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    written(bad);
    try {
      const auto back = load_npz(path);
      if (back.contains("a")) {
        EXPECT_EQ(back.at("a").to_vector<std::int64_t>(), arange(40).to_vector<std::int64_t>()) << i;
      }
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 60);
}

TEST_F(SavingEdge, AnArchiveMayNotUnpackBeyondTheLimit) {
  save_npz(path, {{"zeros", zeros({1 << 20})}});  // some 4 kB
  EXPECT_THAT([&] { load_npz(path, {.max_unpacked = 1 << 20}); },
              format_error("ReadOptions::max_unpacked raises this limit"));
  EXPECT_EQ(load_npz(path).at("zeros").numel(), 1 << 20);
  EXPECT_EQ(load_npz(path, {.max_unpacked = 5 << 20}).at("zeros").numel(), 1 << 20);
}

TEST_F(SavingEdge, OneUnreadableArrayLeavesTheOthers) {
  Stored none;
  none.add("note.txt", "hello", 5, 0x3610a686);
  EXPECT_THROW(load_npz(written(none.bytes())), FormatError) << "no array at all";
  Stored mixed;
  mixed.add("note.txt", "hello", 5, 0x3610a686);
  const std::string u1 = "\x93NUMPY" + std::string("\1\0", 2) + little(55, 2) +
                         "{'descr': '|u1', 'fortran_order': False, 'shape': (0,)}";
  ASSERT_EQ(u1.size(), 65U);
  mixed.add("empty.npy", u1, 65, 0x70cc9ab1);
  const ArrayFile file = load_npz(written(mixed.bytes()));
  EXPECT_EQ(file.at("empty").shape(), (Shape{0}));
  EXPECT_EQ(file.unreadable.size(), 1U);
  EXPECT_THAT([&] { file.at("note.txt"); }, format_error("no NPY header"));
  EXPECT_THROW(file.at("none"), ValueError);
}

TEST_F(SavingEdge, AModelSaysWhyATensorCannotBeRead) {
  nn::Linear layer(1, 2);
  const auto before = layer.weight.to_vector<float>();
  safetensors(R"({"weight":{"dtype":"F8_E4M3","shape":[2,1],"data_offsets":[0,2]},
    "bias":{"dtype":"F32","shape":[2],"data_offsets":[2,10]}})",
              std::string(10, '\0'));
  EXPECT_THAT([&] { nn::load_state_dict(layer, load_safetensors(path)); },
              format_error("'weight' cannot be read: "));
  EXPECT_THAT([&] { nn::load_state_dict(layer, load_safetensors(path)); }, format_error("F8_E4M3"));
  EXPECT_EQ(layer.weight.to_vector<float>(), before);
  Stored archive;
  archive.add("weight", "hello", 5, 0x3610a686);
  const std::string u1 = "\x93NUMPY" + std::string("\1\0", 2) + little(55, 2) +
                         "{'descr': '|u1', 'fortran_order': False, 'shape': (0,)}";
  archive.add("bias.npy", u1, 65, 0x70cc9ab1);
  EXPECT_THAT([&] { nn::load_state_dict(layer, load_npz(written(archive.bytes()))); },
              format_error("'weight' cannot be read: "));
}

TEST_F(SavingEdge, OneUnknownDtypeLeavesTheOtherTensors) {
  safetensors(R"({"f8":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"i8":{"dtype":"I8","shape":[2],
    "data_offsets":[2,4]},"r9":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[4,5]},
    "u":{"dtype":"U8","shape":[1],"data_offsets":[5,6]},"w":{"dtype":"U64","shape":[1],"data_offsets":[6,14]}})",
              std::string("\0\0\xff\x7f\1\7", 6) + little(5, 8));
  for (auto* read : {load_safetensors, map_safetensors}) {
    const TensorFile file = read(path, {});
    EXPECT_EQ(file.at("u").item(), 7);
    EXPECT_EQ(file.tensors.size(), 1U);
    EXPECT_EQ(file.unreadable.size(), 4U);
    EXPECT_THAT([&] { file.at("f8"); },
                format_error("tensor 'f8' has dtype F8_E4M3, which bobbin does not hold"));
    EXPECT_THAT([&] { file.at("i8"); }, format_error("ReadOptions::convert reads it"));
    EXPECT_THAT([&] { file.at("r9"); }, format_error("9 dimensions"));
    EXPECT_THROW(file.at("none"), ValueError);
    const TensorFile more = read(path, {.convert = true});
    EXPECT_EQ(more.at("i8").to_vector<std::int64_t>(), (std::vector<std::int64_t>{-1, 127}));
    EXPECT_EQ(more.at("w").item(), 5);
  }
}

TEST_F(SavingEdge, SafetensorsWithAnythingTwiceOrBehindIsRefused) {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})", whole = "{" + a + "}";
  EXPECT_EQ(load_safetensors(safetensors(whole, "x")).at("a").item(), 'x');
  const std::vector<std::string> headers{
      "{" + a + "," + a + "}",
      R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})" + std::string(),
      R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})" + std::string(),
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})" + std::string(),
      R"({"a":{"x":1,"x":1,"dtype":"U8","shape":[1],"data_offsets":[0,1]}})" + std::string(),
      R"({"__metadata__":{"k":"v","k":"v"},)" + a + "}",
      R"({"__metadata__":{},"__metadata__":{},)" + a + "}"};
  for (const std::string& header : headers)
    EXPECT_THAT([&] { load_safetensors(safetensors(header, "x")); }, format_error("twice")) << header;
  for (const std::string& tail :
       {std::string("\0", 1), std::string("\0 junk", 6), std::string(" junk"), std::string("{}")})
    EXPECT_THAT([&] { load_safetensors(safetensors(whole + tail, "x")); }, format_error("")) << tail;
  EXPECT_THAT([&] { load_safetensors(written("")); }, format_error("empty"));
}

// The header is read without a tree: depth costs no memory, and what the format does not know is not nested
// deeply.
TEST_F(SavingEdge, ADeepHeaderIsRefused) {
  const std::string deep(1'000'000, '[');
  EXPECT_THAT([&] { load_safetensors(safetensors(deep, "")); }, format_error("no JSON object"));
  EXPECT_THAT([&] { load_safetensors(safetensors(R"({"a":{"x":)" + deep, "")); }, format_error("nested"));
  EXPECT_NO_THROW(load_safetensors(
      safetensors(R"({"a":{"x":[[{"y":[1]}]],"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x")));
}

TEST_F(SavingEdge, OffsetsAreInTheOrderOfAlignment) {
  save_safetensors(path, {{{"a", ones({3}, DType::u8)},
                           {"b", ones({1}, DType::f64)},
                           {"c", ones({1}, DType::f16)},
                           {"d", ones({1})},
                           {"e", ones({1}, DType::i64)}},
                          {}});
  const TensorFile mapped = map_safetensors(path);
  for (auto& [name, t] : mapped.tensors)
    EXPECT_EQ(t.to_vector<double>(), std::vector<double>(t.numel(), 1)) << name;
  const std::string text = read();
  const auto at = [&](const char* name) { return text.find(name); };
  EXPECT_LT(at("\"b\""), at("\"e\""));
  EXPECT_LT(at("\"e\""), at("\"d\""));
  EXPECT_LT(at("\"d\""), at("\"c\""));
  EXPECT_LT(at("\"c\""), at("\"a\""));
  EXPECT_THAT(text, HasSubstr(R"("a":{"dtype":"U8","shape":[3],"data_offsets":[22,25]})"));
}

TEST_F(SavingEdge, AHeaderThatLoadingWouldRefuseIsNotWritten) {
  written("old");
  std::string note;
  note.resize(100'000'000, 'x');
  EXPECT_THROW(save_safetensors(path, {{{"a", tensor(1)}}, {{"note", note}}}), ValueError);
  EXPECT_EQ(read(), "old");
}

TEST_F(SavingEdge, AHundredThousandTensorsComeBack) {
  TensorFile file;
  const Tensor one = ones({2});
  for (int i = 0; i < 100'000; ++i) file.tensors.emplace("layer." + std::to_string(i), one);
  save_safetensors(path, file);
  EXPECT_EQ(load_safetensors(path).tensors.size(), 100'000U);
  EXPECT_EQ(map_safetensors(path).at("layer.99999").at({1}), 1);
}

// Each load sees one model or the other, whole.
TEST_F(SavingEdge, ReadersBesideAWriterSeeWholeFiles) {
  const auto model = [](std::int64_t n) {
    return TensorFile{{{"w", full({n}, static_cast<double>(n))}}, {}};
  };
  const TensorFile small = model(10), large = model(200'000);
  save_safetensors(path, small);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop)
      for (auto* m : {&large, &small}) save_safetensors(path, *m);
  });
  for (int i = 0; i < 300; ++i) {
    const Tensor w = (i % 2 ? load_safetensors(path) : map_safetensors(path)).at("w");
    EXPECT_EQ(w.at({w.numel() - 1}), w.numel());
  }
  stop = true;
  writer.join();
}

}  // namespace
