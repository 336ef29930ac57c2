// Safetensors files: 8 bytes with the length of the header, a JSON header with shapes and offsets, then the
// elements.
#include <bobbin/safetensors.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/strided_copy.h"

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

// Reads an array of integers of at least 0. nlohmann's get() would also accept one number, and 1.5 as 1.
std::vector<std::uint64_t> read_numbers(const json& entry, const char* key) {
  const json& list = entry.at(key);
  if (!list.is_array() ||
      !std::all_of(list.begin(), list.end(), [](auto& x) { return x.is_number_unsigned(); }))
    fail<ShapeError>(key, " must be a list of whole numbers");
  return list.get<std::vector<std::uint64_t>>();
}

Shape read_shape(const json& entry) {
  Shape shape;
  for (auto size : read_numbers(entry, "shape")) shape.push_back(static_cast<std::int64_t>(size));
  return shape;
}

}  // namespace

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  json header = json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::int64_t end = 0;
  for (auto& [name, t] : file.tensors) {
    if (name == "__metadata__")
      fail<ValueError>("save_safetensors: no tensor can have the name __metadata__");
    const std::int64_t begin = end;
    end += t.numel() * size_of(t.dtype());
    header[name] = {{"dtype", format_name(t.dtype())},
                    {"shape", std::vector<std::int64_t>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {begin, end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& e) {
    fail<ValueError>("save_safetensors: ", path.string(),
                     ": a name or the metadata is not UTF-8: ", e.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the elements start aligned
  AtomicFile out("save_safetensors", path);
  const std::uint64_t length =
      text.size();  // the format is little-endian, like the machines that Bobbin runs on
  out.write(&length, sizeof length);
  out.write(text.data(), text.size());
  for (auto& [name, t] : file.tensors) {
    Tensor here = t;
    if (!t.device().is_cpu()) copy_elements(t, here = empty(t.shape(), t.dtype()));
    here = row_major(here);
    out.write(here.raw(), static_cast<std::size_t>(t.numel() * size_of(t.dtype())));
  }
  out.commit();
}

namespace {

struct Entry {
  std::uint64_t begin, end;  // bytes of the body
  std::string key;
  TensorSpec spec;
};

// An open file whose header is known.
struct Opened {
  std::string name;
  std::ifstream in;  // positioned at the body
  std::uint64_t body_at = 0, body = 0;
  std::vector<Entry> entries;  // in the order of the file
  std::map<std::string, std::string> metadata;

  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    fail<FormatError>("load_safetensors: ", name, ": ", what...);
  }

  explicit Opened(const std::filesystem::path& path) : name(path.string()) {
    if (!std::filesystem::exists(path)) fail<IoError>("load_safetensors: ", name, " does not exist");
    if (!std::filesystem::is_regular_file(path))
      fail<IoError>("load_safetensors: ", name, " is not a regular file");
    in.open(path, std::ios::binary);
    if (!in) fail<IoError>("load_safetensors: ", name, " cannot be opened");
    const std::uint64_t size = std::filesystem::file_size(path);
    std::uint64_t length = 0;
    if (size < 8 || !in.read(reinterpret_cast<char*>(&length), 8)) bad("no safetensors header");
    if (length > max_header || length > size - 8) bad("a header of ", length, " bytes does not fit the file");
    std::string text(length, '\0');
    in.read(text.data(), static_cast<std::streamsize>(length));
    body_at = 8 + length;
    body = size - body_at;
    try {
      read_header(json::parse(text));
    } catch (const json::exception& e) {
      bad("its header is not what the format asks for: ", e.what());
    } catch (const ShapeError& e) {
      bad(e.what());
    }
    // Every byte belongs to exactly one tensor. Otherwise a small file could require much memory.
    std::sort(entries.begin(), entries.end(),
              [](auto& a, auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::uint64_t at = 0;
    for (auto& entry : entries) {
      if (entry.begin != at) bad("tensors overlap or leave a gap at byte ", at);
      at = entry.end;
    }
    if (at != body) bad(body - at, " bytes belong to no tensor");
  }

  void read_header(const json& header) {
    if (!header.is_object()) bad("its header is not a JSON object");
    for (auto& [key, entry] : header.items()) {
      if (key == "__metadata__") {
        metadata = entry.get<std::map<std::string, std::string>>();
        continue;
      }
      const auto dtype = entry.at("dtype").get<std::string>();
      const auto* known =
          std::find_if(dtype_names.begin(), dtype_names.end(), [&](auto& p) { return p.second == dtype; });
      if (known == dtype_names.end())
        bad("tensor '", key, "' has dtype ", dtype, ", which bobbin does not hold");
      const TensorSpec spec{read_shape(entry), known->first, {}};
      const auto offsets = read_numbers(entry, "data_offsets");
      if (offsets.size() != 2) bad("tensor '", key, "': data_offsets must be two numbers");
      const auto begin = offsets[0], end = offsets[1], n = static_cast<std::uint64_t>(numel(spec.shape));
      if (begin > end || end > body || n > body ||
          end - begin != n * static_cast<std::uint64_t>(size_of(spec.dtype)))
        bad("tensor '", key, "': bytes ", begin, " to ", end, " of ", body, " do not hold ", spec);
      entries.push_back({begin, end, key, spec});
    }
  }

  void check(const Entry& entry, const char* bytes) const {
    if (entry.spec.dtype == DType::boolean &&
        std::any_of(bytes, bytes + (entry.end - entry.begin), [](char b) { return (b & ~1) != 0; }))
      bad("tensor '", entry.key, "' holds a bool that is neither 0 nor 1");
  }
};

}  // namespace

TensorFile load_safetensors(const std::filesystem::path& path) {
  Opened file(path);
  TensorFile out{{}, file.metadata};
  for (auto& entry : file.entries) {
    Tensor t = empty(entry.spec);
    auto* bytes = t.raw<char>();
    const auto size = static_cast<std::streamsize>(entry.end - entry.begin);
    if (size > 0 && !file.in.read(bytes, size)) file.bad("truncated");
    file.check(entry, bytes);
    out.tensors[entry.key] = std::move(t);
  }
  return out;
}

TensorFile map_safetensors(const std::filesystem::path& path) {
  const Opened file(path);
  TensorFile out{{}, file.metadata};
  if (file.body == 0) return load_safetensors(path);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const std::uint64_t size = file.body_at + file.body;
  // A private mapping: writing to a tensor changes a copy of its page, not the file.
  void* const map = fd < 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (fd >= 0) ::close(fd);
  if (map == MAP_FAILED)
    fail<IoError>("map_safetensors: ", file.name, " cannot be mapped: ", std::strerror(errno));
  const std::shared_ptr<const void> owner(map,
                                          [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  for (auto& entry : file.entries) {
    char* const bytes = static_cast<char*>(map) + file.body_at + entry.begin;
    file.check(entry, bytes);
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(bytes) % static_cast<std::uintptr_t>(size_of(entry.spec.dtype)) == 0;
    Tensor t = aligned ? from_blob(bytes, entry.spec, owner) : empty(entry.spec);
    if (!aligned) std::memcpy(t.raw(), bytes, entry.end - entry.begin);
    out.tensors[entry.key] = std::move(t);
  }
  return out;
}

}  // namespace bobbin
