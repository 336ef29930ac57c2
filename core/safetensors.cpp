#include <bobbin/safetensors.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "blocks.h"

namespace bobbin {
namespace {

using json = nlohmann::ordered_json;
constexpr std::uint64_t max_header = 100'000'000;  // as the reference implementation

constexpr std::array<std::pair<DType, std::string_view>, 8> dtype_names{{{DType::f64, "F64"},
                                                                         {DType::f32, "F32"},
                                                                         {DType::bf16, "BF16"},
                                                                         {DType::f16, "F16"},
                                                                         {DType::i64, "I64"},
                                                                         {DType::i32, "I32"},
                                                                         {DType::u8, "U8"},
                                                                         {DType::boolean, "BOOL"}}};

std::string_view format_name(DType d) {
  for (auto& [dtype, name] : dtype_names)
    if (dtype == d) return name;
  throw std::logic_error("dtype without a name");
}

// Owns a file descriptor and, until `keep`, the file itself.
class NewFile {
 public:
  NewFile(const std::filesystem::path& target) : target_(target), name_(target.string() + ".XXXXXX") {
    fd_ = ::mkstemp(name_.data());
    if (fd_ < 0) failed("cannot create a file beside it");
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(fd_, 0666 & ~mask);
  }
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!kept_) ::unlink(name_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(const void* data, std::size_t bytes) {
    for (const char* p = static_cast<const char*>(data); bytes > 0;) {
      const ssize_t n = ::write(fd_, p, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) failed("cannot be written");
      p += n;
      bytes -= static_cast<std::size_t>(n);
    }
  }
  void keep() {
    if (::fsync(fd_) != 0) failed("cannot be flushed to disk");
    if (::close(std::exchange(fd_, -1)) != 0) failed("cannot be closed");
    if (::rename(name_.c_str(), target_.c_str()) != 0) failed("cannot be put in place");
    kept_ = true;
    // The rename is on disk once the directory is.
    const auto directory = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    if (const int d = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY); d >= 0) {
      ::fsync(d);
      ::close(d);
    }
  }

 private:
  [[noreturn]] void failed(std::string_view what) const {
    fail<IoError>("save_safetensors: ", target_.string(), " ", what, ": ", std::strerror(errno));
  }
  std::filesystem::path target_;
  std::string name_;
  int fd_ = -1;
  bool kept_ = false;
};

Shape read_shape(const json& entry) {
  Shape shape;
  for (auto& size : entry.at("shape")) shape.push_back(size.get<std::int64_t>());
  return shape;
}

}  // namespace

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  json header = json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::int64_t end = 0;
  for (auto& [name, t] : file.tensors) {
    const std::int64_t begin = end;
    end += t.numel() * size_of(t.dtype());
    header[name] = {{"dtype", format_name(t.dtype())},
                    {"shape", std::vector<std::int64_t>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the elements start aligned
  NewFile out(path);
  const std::uint64_t length =
      text.size();  // the format is little-endian, as are the machines Bobbin runs on
  out.write(&length, sizeof length);
  out.write(text.data(), text.size());
  for (auto& [name, t] : file.tensors) {
    Tensor straight = empty(t.spec());
    copy_elements(t, straight);
    out.write(straight.raw(), static_cast<std::size_t>(t.numel() * size_of(t.dtype())));
  }
  out.keep();
}

TensorFile load_safetensors(const std::filesystem::path& path) {
  const std::string name = path.string();
  if (std::error_code e; !std::filesystem::is_regular_file(path, e))
    fail<IoError>("load_safetensors: ", name, " is not a regular file");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail<IoError>("load_safetensors: ", name, " cannot be opened");
  const std::uint64_t size = std::filesystem::file_size(path);
  auto bad = [&](const auto&... what) { fail<FormatError>("load_safetensors: ", name, ": ", what...); };
  std::uint64_t length = 0;
  if (size < 8 || !in.read(reinterpret_cast<char*>(&length), 8)) bad("no safetensors header");
  if (length > max_header || length > size - 8) bad("a header of ", length, " bytes does not fit the file");
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  const std::uint64_t body = size - 8 - length;

  TensorFile file;
  try {
    const json header = json::parse(text);
    std::map<std::uint64_t, std::uint64_t> taken;
    for (auto& [key, entry] : header.items()) {
      if (key == "__metadata__") {
        file.metadata = entry.get<std::map<std::string, std::string>>();
        continue;
      }
      const auto dtype = entry.at("dtype").get<std::string>();
      const auto* known =
          std::find_if(dtype_names.begin(), dtype_names.end(), [&](auto& p) { return p.second == dtype; });
      if (known == dtype_names.end())
        bad("tensor '", key, "' has dtype ", dtype, ", which bobbin does not hold");
      const TensorSpec spec{read_shape(entry), known->first, {}};
      const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
      const auto end = entry.at("data_offsets").at(1).get<std::uint64_t>();
      const auto n = static_cast<std::uint64_t>(numel(spec.shape));
      if (begin > end || end > body || n > body ||
          end - begin != n * static_cast<std::uint64_t>(size_of(spec.dtype)))
        bad("tensor '", key, "': bytes ", begin, " to ", end, " of ", body, " do not hold ", spec);
      taken[begin] = std::max(taken[begin], end);
      Tensor t = empty(spec);
      in.seekg(static_cast<std::streamoff>(8 + length + begin));
      if (n > 0 && !in.read(static_cast<char*>(t.raw()), static_cast<std::streamsize>(end - begin)))
        bad("truncated");
      if (spec.dtype == DType::boolean &&
          std::any_of(static_cast<char*>(t.raw()), static_cast<char*>(t.raw()) + n,
                      [](char b) { return b & ~1; }))
        bad("tensor '", key, "' holds a bool that is neither 0 nor 1");
      file.tensors[key] = std::move(t);
    }
    std::uint64_t at = 0;
    for (auto& [begin, end] : taken) {
      if (begin != at) bad("tensors overlap or leave a gap at byte ", at);
      at = end;
    }
    if (at != body) bad(body - at, " bytes belong to no tensor");
  } catch (const json::exception& e) {
    bad("its header is not what the format asks for: ", e.what());
  } catch (const ShapeError& e) {
    bad(e.what());
  }
  return file;
}

}  // namespace bobbin
