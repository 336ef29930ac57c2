// IDX files: valid, truncated, damaged and hostile ones.
#include <bobbin/data_files.h>
#include <bobbin/error.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <filesystem>
#include <string>

#include "tests/autograd/temporary_directory.h"

namespace bobbin {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Bytes idx(const std::vector<std::uint32_t>& dims, const Bytes& data, std::uint8_t type = 0x08) {
  Bytes out{0, 0, type, static_cast<std::uint8_t>(dims.size())};
  for (const std::uint32_t dim : dims) {
    for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<std::uint8_t>(dim >> shift));
  }
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

Bytes gzip(const Bytes& data) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes out(deflateBound(&stream, data.size()) + 32);
  stream.next_in = const_cast<Bytef*>(data.data());
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes without_last(Bytes bytes, std::size_t count) {
  bytes.resize(bytes.size() - count);
  return bytes;
}

Bytes counting(std::size_t count) {
  Bytes bytes(count);
  // A long period, so that a piece read twice or left out shows.
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return bytes;
}

struct Idx : tests::TemporaryDirectory {
  Idx() : TemporaryDirectory("data.idx") {}

  fs::path file(const Bytes& bytes) const {
    return written({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  /// The message must be one line that names the file.
  template<class E>
  void expect_refusal(const fs::path& path, const std::string& part, int rank = 0) {
    try {
      read_idx(path, rank);
      ADD_FAILURE() << "accepted; expected a message with: " << part;
    } catch (const E& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(part), HasSubstr(path.string()), Not(HasSubstr("\n"))));
    }
  }
};

TEST_F(Idx, ReadsPlainFile) {
  const IdxArray array = read_idx(file(idx({2, 3}, {1, 2, 3, 4, 5, 255})));
  EXPECT_EQ(array.dims, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(array.bytes, (Bytes{1, 2, 3, 4, 5, 255}));
}

TEST_F(Idx, ReadsGzipWhateverItsName) {
  const IdxArray array = read_idx(file(gzip(idx({4}, {9, 8, 7, 6}))), 1);
  EXPECT_EQ(array.dims, (std::vector<std::int64_t>{4}));
  EXPECT_EQ(array.bytes, (Bytes{9, 8, 7, 6}));
}

TEST_F(Idx, ReadsFilesLargerThanItsBuffers) {
  const Bytes data = counting(3000 * 1000);
  for (const bool zipped : {false, true}) {
    const Bytes bytes = idx({3000, 50, 20}, data);
    const IdxArray array = read_idx(file(zipped ? gzip(bytes) : bytes), 3);
    EXPECT_EQ(array.dims, (std::vector<std::int64_t>{3000, 50, 20}));
    EXPECT_TRUE(array.bytes == data) << "zipped: " << zipped;
  }
}

TEST_F(Idx, JoinsGzipMembers) {
  const Bytes whole = idx({300}, counting(300));
  const Bytes head(whole.begin(), whole.begin() + 6), tail(whole.begin() + 6, whole.end());
  const Bytes members = joined(joined(gzip(head), gzip({})), joined(gzip(tail), gzip({})));
  EXPECT_EQ(read_idx(file(members)).bytes, counting(300));
}

TEST_F(Idx, ReadsEmptyArray) {
  const IdxArray array = read_idx(file(idx({0, 28, 28}, {})), 3);
  EXPECT_EQ(array.dims, (std::vector<std::int64_t>{0, 28, 28}));
  EXPECT_TRUE(array.bytes.empty());
}

TEST_F(Idx, FollowsSymbolicLinks) {
  const fs::path link = dir / "link";
  fs::create_symlink(file(idx({1}, {5})), link);
  EXPECT_EQ(read_idx(link).bytes, Bytes{5});
}

TEST_F(Idx, RefusesWrongMagic) {
  expect_refusal<FormatError>(file({'P', 'K', 3, 4, 0, 0, 0, 0}), "does not begin with 00 00");
  expect_refusal<FormatError>(file({0, 1, 8, 1, 0, 0, 0, 1, 5}), "does not begin with 00 00");
  expect_refusal<FormatError>(file(gzip({'h', 'e', 'l', 'l', 'o'})), "does not begin with 00 00");
}

TEST_F(Idx, NamesElementTypesItRefuses) {
  const std::array<std::pair<int, const char*>, 5> types{{{0x09, "signed bytes"},
                                                          {0x0B, "16-bit integers"},
                                                          {0x0C, "32-bit integers"},
                                                          {0x0D, "32-bit floats"},
                                                          {0x0E, "64-bit floats"}}};
  for (const auto& [code, name] : types) {
    expect_refusal<FormatError>(file(idx({1}, {1}, static_cast<std::uint8_t>(code))), name);
  }
  expect_refusal<FormatError>(file(idx({1}, {1}, 0x0A)), "element type 10");
}

TEST_F(Idx, RefusesOtherRank) {
  expect_refusal<FormatError>(file(idx({1, 1}, {1})), "has 2 dimensions; expected 3", 3);
  expect_refusal<FormatError>(file(idx({}, {1})), "no dimensions");
  EXPECT_THROW(read_idx(file(idx({1}, {1})), -1), ValueError);
  EXPECT_THROW(read_idx(file(idx({1}, {1})), 256), ValueError);
}

TEST_F(Idx, RefusesDimensionsThatOverflow) {
  constexpr std::uint32_t most = 0xFFFFFFFF;
  expect_refusal<FormatError>(file(idx({most, most, most}, {1})), "overflow");
  // 2^64 elements, which would wrap around to none.
  expect_refusal<FormatError>(file(idx({1u << 31, 1u << 31, 4}, {})), "overflow");
  expect_refusal<FormatError>(file(idx({0, most, most, most}, {})), "overflow");
  expect_refusal<FormatError>(file(idx(std::vector<std::uint32_t>(255, most), {})), "overflow");
}

// Setting aside what these headers claim would end in std::bad_alloc.
TEST_F(Idx, AllocatesOnlyWhatTheFileHolds) {
  const Bytes lie = idx({0x7FFFFFFF, 0x7FFFFFFF}, {1, 2, 3});
  expect_refusal<FormatError>(file(lie), "promises 4611686014132420609 bytes and the file holds 3");
  expect_refusal<FormatError>(file(gzip(lie)), "promises 4611686014132420609 bytes and the file holds 3");
}

TEST_F(Idx, RefusesTruncation) {
  const Bytes whole = idx({2, 3}, {1, 2, 3, 4, 5, 6});
  for (std::size_t cut = 1; cut <= whole.size(); ++cut) {
    const Bytes part = without_last(whole, cut);
    const std::string message = part.size() < 12 ? "ends within the IDX header" : "the file holds";
    expect_refusal<FormatError>(file(part), message);
    expect_refusal<FormatError>(file(gzip(part)), message);
  }
}

TEST_F(Idx, RefusesTrailingBytes) {
  const Bytes longer = idx({2}, {1, 2, 3});
  expect_refusal<FormatError>(file(longer), "more bytes follow");
  expect_refusal<FormatError>(file(gzip(longer)), "more bytes follow");
  expect_refusal<FormatError>(file(joined(gzip(idx({1}, {1})), gzip({7}))), "more bytes follow");
  expect_refusal<FormatError>(file(joined(gzip(idx({1}, {1})), {'x', 'y', 'z'})), "gzip");
  expect_refusal<FormatError>(file(joined(gzip(idx({1}, {1})), {0, 0, 7})), "gzip");
}

// As gzip(1) does: tapes and downloads pad with zeros.
TEST_F(Idx, ZerosBehindGzipArePadding) {
  for (const std::size_t zeros : {1UL, 2UL, 200'000UL})
    EXPECT_EQ(read_idx(file(joined(gzip(idx({1}, {5})), Bytes(zeros)))).bytes, Bytes{5});
  expect_refusal<FormatError>(file(joined(idx({1}, {5}), {0})), "more bytes follow");
}

TEST_F(Idx, GzipMayNotUnpackBeyondTheLimit) {
  const Bytes zipped = gzip(idx({4, 1u << 20}, Bytes(4u << 20)));  // some 4 kB
  file(zipped);
  try {
    read_idx(path, 0, {.max_unpacked = 2 << 20});
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("ReadOptions::max_unpacked raises this limit"));
  }
  EXPECT_EQ(read_idx(path, 0, {.max_unpacked = 4 << 20}).bytes.size(), 4u << 20);
  const Bytes dense = gzip(idx({300}, counting(300)));
  EXPECT_EQ(read_idx(file(dense), 0, {.max_unpacked = 1}).bytes.size(), 300u) << "at most 100 times the file";
}

TEST_F(Idx, RefusesEveryTruncationOfGzip) {
  const Bytes zipped = gzip(idx({200}, counting(200)));
  for (std::size_t size = 2; size < zipped.size(); ++size) {
    expect_refusal<FormatError>(file(without_last(zipped, zipped.size() - size)),
                                "gzip stream ends too early");
  }
}

TEST_F(Idx, RefusesDamagedGzip) {
  const Bytes good = gzip(idx({200}, counting(200)));
  Bytes wrong_sum = good, wrong_length = good, wrong_method = good, wrong_block = good;
  wrong_sum[good.size() - 8] ^= 1;
  wrong_length[good.size() - 4] ^= 1;
  wrong_method[2] = 7;
  wrong_block[10] |= 6;  // a block of the reserved kind
  expect_refusal<FormatError>(file(wrong_sum), "damaged gzip stream: incorrect data check");
  expect_refusal<FormatError>(file(wrong_length), "damaged gzip stream: incorrect length check");
  expect_refusal<FormatError>(file(wrong_method), "damaged gzip stream");
  expect_refusal<FormatError>(file(wrong_block), "damaged gzip stream: invalid block type");
}

// Whatever single byte of the stream is spoilt, the answer is a typed refusal or, where gzip ignores the
// byte (its time stamp, its system), the right data.
TEST_F(Idx, NeverReturnsWrongData) {
  const Bytes data = counting(64), good = gzip(idx({64}, data));
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 0x55;
    try {
      EXPECT_EQ(read_idx(file(bad)).bytes, data) << "byte " << i;
    } catch (const FormatError&) {
    }
  }
}

TEST_F(Idx, RefusesWhatIsNoRegularFile) {
  expect_refusal<IoError>(dir / "missing", "No such file");
  expect_refusal<IoError>(dir, "is a directory");
  const fs::path fifo = dir / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_refusal<IoError>(fifo, "not a regular file");  // and does not wait for a writer
  expect_refusal<IoError>("/dev/null", "not a regular file");
  expect_refusal<IoError>("", "No such file");
}

}  // namespace
}  // namespace bobbin
