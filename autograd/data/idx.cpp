// Reads IDX files, plain or gzip. zlib's gzFile ignores garbage after a gzip member; this reader throws.
#include <bobbin/data_files.h>
#include <bobbin/error.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>

#include "core/input_file.h"

namespace bobbin {
namespace {

/// The state of zlib. The 16 selects gzip, so a bare zlib stream is an error.
struct Inflater {
  z_stream stream{};
  bool between_members = false;

  Inflater() {
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

/// Reads the bytes of a file in order, and decompresses them if it is gzip.
class ByteSource {
 public:
  /// Opens a regular file. Throws IoError.
  explicit ByteSource(const std::filesystem::path&);

  /// Reads up to out.size() bytes and returns their number. Fewer bytes mean the end of the contents; for
  /// gzip, the checksum of the last member is then correct. Throws IoError if reading fails, and FormatError
  /// for a damaged gzip stream.
  std::size_t read(std::span<std::uint8_t> out);

  /// The number of bytes of the contents, if it is known before reading: for plain files.
  std::optional<std::uint64_t> size() const;
  /// The number of bytes of the file.
  std::uint64_t file_size() const { return file_.size(); }

 private:
  bool refill();
  bool padding();
  std::size_t read_plain(std::span<std::uint8_t> out);
  std::size_t read_gzip(std::span<std::uint8_t> out);

  InputFile file_;
  std::array<std::uint8_t, 1 << 16> buffer_;
  std::span<const std::uint8_t> pending_;  // read from the file, but not used yet
  std::unique_ptr<Inflater> inflater_;     // null for a plain file
};

ByteSource::ByteSource(const std::filesystem::path& path) : file_("read_idx", path) {
  refill();
  if (pending_.size() >= 2 && pending_[0] == 0x1F && pending_[1] == 0x8B)
    inflater_ = std::make_unique<Inflater>();
}

std::optional<std::uint64_t> ByteSource::size() const {
  return inflater_ ? std::nullopt : std::optional(file_.size());
}

std::size_t ByteSource::read(std::span<std::uint8_t> out) {
  return inflater_ ? read_gzip(out) : read_plain(out);
}

/// Reads the next part of the file if all of the last one has been used; returns false at the end.
bool ByteSource::refill() {
  if (!pending_.empty()) return true;
  pending_ = std::span(buffer_).first(file_.read(buffer_.data(), buffer_.size()));
  return !pending_.empty();
}

std::size_t ByteSource::read_plain(std::span<std::uint8_t> out) {
  std::size_t done = 0;
  while (done < out.size() && refill()) {
    const std::size_t count = std::min(out.size() - done, pending_.size());
    std::copy_n(pending_.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(done));
    pending_ = pending_.subspan(count);
    done += count;
  }
  return done;
}

std::size_t ByteSource::read_gzip(std::span<std::uint8_t> out) {
  z_stream& stream = inflater_->stream;
  std::size_t done = 0;
  while (done < out.size()) {
    const bool more = refill();
    if (inflater_->between_members) {
      if (!more || padding()) break;
      inflateReset(&stream);  // only another member may follow a member, or zeros to the end
      inflater_->between_members = false;
    }
    const std::size_t room = std::min<std::size_t>(out.size() - done, 1u << 30);
    stream.next_in = const_cast<Bytef*>(pending_.data());  // zlib only reads it
    stream.avail_in = static_cast<uInt>(pending_.size());
    stream.next_out = out.data() + done;
    stream.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream, Z_NO_FLUSH);
    pending_ = pending_.last(stream.avail_in);
    done += room - stream.avail_out;
    if (result == Z_STREAM_END) {
      inflater_->between_members = true;
    } else if (result == Z_BUF_ERROR && !more) {
      fail<FormatError>("read_idx: '", file_.name(), "': the gzip stream ends too early");
    } else if (result == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail<FormatError>("read_idx: '", file_.name(), "': damaged gzip stream: ",
                        stream.msg != nullptr ? stream.msg : "zlib cannot decode it");
    }
  }
  return done;
}

/// Whether zeros follow, up to the end of the file.
bool ByteSource::padding() {
  if (pending_.front() != 0) return false;
  for (; refill(); pending_ = {})
    if (std::ranges::any_of(pending_, [](std::uint8_t b) { return b != 0; }))
      fail<FormatError>("read_idx: '", file_.name(),
                        "': neither a gzip stream nor zeros alone follow a gzip stream");
  return true;
}

/// The name of an element type of IDX other than unsigned bytes; null for an unknown code.
const char* element_name(std::uint8_t code) {
  switch (code) {
    case 0x09:
      return "signed bytes (0x09)";
    case 0x0B:
      return "16-bit integers (0x0b)";
    case 0x0C:
      return "32-bit integers (0x0c)";
    case 0x0D:
      return "32-bit floats (0x0d)";
    case 0x0E:
      return "64-bit floats (0x0e)";
    default:
      return nullptr;
  }
}

std::vector<std::int64_t> read_dims(ByteSource& source, const std::string& file, int expected_rank) {
  std::array<std::uint8_t, 4> magic{};
  if (source.read(magic) < magic.size()) fail<FormatError>(file, "the file ends within the IDX header");
  const int code = magic[2], rank = magic[3];
  if (magic[0] != 0 || magic[1] != 0)
    fail<FormatError>(file, "not an IDX file: it does not begin with 00 00");
  if (const char* name = element_name(magic[2])) {
    fail<FormatError>(file, "holds ", name, "; only unsigned bytes (0x08) can be read");
  }
  if (code != 0x08) fail<FormatError>(file, "not an IDX file: its element type ", code, " does not exist");
  if (rank == 0) fail<FormatError>(file, "has no dimensions");
  if (expected_rank != 0 && rank != expected_rank) {
    fail<FormatError>(file, "has ", rank, " dimensions; expected ", expected_rank);
  }
  std::vector<std::int64_t> dims;
  for (int i = 0; i < rank; ++i) {
    std::array<std::uint8_t, 4> big_endian{};
    if (source.read(big_endian) < big_endian.size()) {
      fail<FormatError>(file, "the file ends within the IDX header");
    }
    std::int64_t dim = 0;
    for (const std::uint8_t byte : big_endian) dim = dim << 8 | byte;
    dims.push_back(dim);
  }
  return dims;
}

/// The number of elements. Throws if the product of the dimensions other than 0 overflows, even if one
/// dimension is 0, because strides would overflow too.
std::uint64_t count_elements(const std::vector<std::int64_t>& dims, const std::string& file) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t dim : dims) {
    empty = empty || dim == 0;
    if (dim != 0 && product > std::numeric_limits<std::int64_t>::max() / dim) {
      fail<FormatError>(file, "the dimensions of its header overflow");
    }
    if (dim != 0) product *= dim;
  }
  return empty ? 0 : static_cast<std::uint64_t>(product);
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path, int expected_rank, const ReadOptions& options) {
  if (expected_rank < 0 || expected_rank > 255) {
    fail<ValueError>("read_idx: expected_rank must be in [0, 255]; got ", expected_rank);
  }
  const std::string file = "read_idx: '" + path.string() + "': ";
  ByteSource source(path);
  IdxArray array;
  array.dims = read_dims(source, file, expected_rank);
  const std::uint64_t count = count_elements(array.dims, file);
  const auto too_short = [&](std::uint64_t held) {
    fail<FormatError>(file, "the header promises ", count, " bytes and the file holds ", held);
  };
  if (const auto size = source.size()) {
    const std::uint64_t header = 4 + 4 * array.dims.size(), held = *size < header ? 0 : *size - header;
    if (held < count) too_short(held);
  }

  // The header may be false, so memory is allocated in pieces, as bytes are read. What gzip holds is known at
  // its end, so the limit is compared with the header's number once the file has shown that it holds more
  // than a piece.
  constexpr std::uint64_t kPiece = 1 << 20;
  const std::uint64_t most =
      std::max(options.max_unpacked, std::min<std::uint64_t>(source.file_size(), 1ULL << 56) * 100);
  while (array.bytes.size() < count) {
    if (!source.size() && count > most && !array.bytes.empty())
      fail<FormatError>(file, "it unpacks to ", count, " bytes, more than ", most,
                        "; ReadOptions::max_unpacked raises this limit");
    const std::size_t done = array.bytes.size(), piece = std::min<std::uint64_t>(kPiece, count - done);
    array.bytes.resize(done + piece);
    const std::size_t got = source.read(std::span(array.bytes).subspan(done));
    if (got < piece) too_short(done + got);
  }
  // A read beyond the end also makes zlib check the checksums.
  std::uint8_t extra = 0;
  if (source.read({&extra, 1}) != 0) {
    fail<FormatError>(file, "more bytes follow the ", count, " that the header promises");
  }
  return array;
}

Tensor idx_tensor(const std::filesystem::path& path, int expected_rank, const ReadOptions& options) {
  const IdxArray array = read_idx(path, expected_rank, options);
  if (array.dims.size() > static_cast<std::size_t>(max_rank))
    fail<FormatError>("read_idx: '", path.string(), "': has ", array.dims.size(),
                      " dimensions; bobbin's tensors have at most ", max_rank);
  Shape shape;
  for (const std::int64_t n : array.dims) shape.push_back(n);
  Tensor t = empty(shape, DType::u8);
  std::copy(array.bytes.begin(), array.bytes.end(), t.mutable_data<std::uint8_t>().begin());
  return t;
}

}  // namespace bobbin
