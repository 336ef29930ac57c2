// Safetensors files: 8 bytes with the length of the header, a JSON header with shapes and offsets, then the
// elements.
#include <bobbin/safetensors.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <locale>
#include <sstream>
#include <system_error>

#include "autograd/saving/elements.h"
#include "autograd/saving/safetensors_header.h"
#include "core/atomic_file.h"
#include "core/input_file.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

constexpr std::uint64_t max_header = 100'000'000;  // as the reference implementation

struct Name {
  std::string_view name;
  ElementType type;
};
// Those that Bobbin writes are the first of their dtype.
constexpr std::array<Name, 13> names{{{"F64", {'f', 8}},
                                      {"F32", {'f', 4}},
                                      {"BF16", {'g', 2}},
                                      {"F16", {'f', 2}},
                                      {"I64", {'i', 8}},
                                      {"I32", {'i', 4}},
                                      {"U8", {'u', 1}},
                                      {"BOOL", {'b', 1}},
                                      {"I8", {'i', 1}},
                                      {"I16", {'i', 2}},
                                      {"U16", {'u', 2}},
                                      {"U32", {'u', 4}},
                                      {"U64", {'u', 8}}}};

const Name* find_name(std::string_view name) {
  const auto* found = std::find_if(names.begin(), names.end(), [&](auto& n) { return n.name == name; });
  return found == names.end() ? nullptr : found;
}

std::string_view name_of(DType d) {
  for (auto& n : names)
    if (dtype_for(n.type, {}) == d) return n.name;
  throw std::logic_error("dtype without a name");
}

std::uint64_t bytes_of(const Tensor& t) { return static_cast<std::uint64_t>(t.numel() * size_of(t.dtype())); }

}  // namespace

const Tensor& TensorFile::at(const std::string& name) const {
  if (const auto found = tensors.find(name); found != tensors.end()) return found->second;
  if (const auto why = unreadable.find(name); why != unreadable.end()) throw FormatError(why->second);
  std::string all;
  for (auto& [other, t] : tensors) {
    if (all.size() > 1000) {
      all += ", ...";
      break;
    }
    all += (all.empty() ? "'" : ", '") + shown_name(other) + "'";
  }
  fail<ValueError>("TensorFile: there is no tensor '", name, "'; there are ", all.empty() ? "none" : all);
}

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  const std::string where = "save_safetensors: " + path.string();
  // By descending size of the elements, so that each tensor is aligned for readers that map the file.
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (auto& entry : file.tensors) order.push_back(&entry);
  std::ranges::stable_sort(order, std::greater<>(), [](auto* e) { return size_of(e->second.dtype()); });
  std::string text = "{";
  const auto next = [&] { return text.size() > 1 ? "," : ""; };
  if (!file.metadata.empty()) {
    text += "\"__metadata__\":{";
    const char* between = "";
    for (auto& [key, value] : file.metadata) {
      text += fmt::format("{}{}:{}", between, json_quoted(where, key), json_quoted(where, value));
      between = ",";
    }
    text += '}';
  }
  std::uint64_t end = 0;
  for (auto* entry : order) {
    auto& [name, t] = *entry;
    if (name == "__metadata__") fail<ValueError>(where, ": no tensor can have the name __metadata__");
    const std::uint64_t begin = end;
    end += bytes_of(t);
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", next(),
                        json_quoted(where, name), name_of(t.dtype()), fmt::join(t.shape(), ","), begin, end);
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the elements start aligned
  if (text.size() > max_header)
    fail<ValueError>(where, ": names and metadata make a header of ", text.size(),
                     " bytes; the format allows ", max_header);
  AtomicFile out("save_safetensors", path);
  const std::uint64_t length =
      text.size();  // the format is little-endian, like the machines that Bobbin runs on
  out.write(&length, sizeof length);
  out.write(text.data(), text.size());
  for (auto* entry : order) {
    const Tensor& t = entry->second;
    Tensor here = t;
    if (!t.device().is_cpu()) copy_elements(t, here = empty(t.shape(), t.dtype()));
    here = row_major(here);
    out.write(here.raw(), bytes_of(t));
  }
  out.commit();
}

namespace {

struct Entry {
  std::uint64_t begin, end;  // bytes of the body
  std::string key;
  ElementType type;
  TensorSpec spec;
};

// An open file whose header is known.
struct Opened {
  std::string where;
  InputFile in;
  std::uint64_t body_at = 0, body = 0;
  std::vector<Entry> entries;  // in the order of the file, without those that are unreadable
  TensorFile out;              // metadata and unreadable tensors

  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    fail<FormatError>(where, ": ", what...);
  }

  Opened(std::string_view op, const std::filesystem::path& path, const ReadOptions& options)
      : where(std::string(op) + ": " + path.string()), in(op, path) {
    if (in.size() == 0) bad("it is empty: no safetensors header");
    std::uint64_t length = 0;
    if (in.read_at(0, &length, 8) < 8) bad("no safetensors header");
    if (length > max_header || length > in.size() - 8)
      bad("a header of ", length, " bytes does not fit the file");
    std::string text(length, '\0');
    if (in.read_at(8, text.data(), length) < length) bad("truncated");
    body_at = 8 + length;
    body = in.size() - body_at;
    SafetensorsHeader header = read_safetensors_header(where, text);
    out.metadata = std::move(header.metadata);
    check_places(header.entries);
    for (auto& e : header.entries) take(std::move(e), options);
    if (entries.empty() && !out.unreadable.empty()) throw FormatError(out.unreadable.begin()->second);
  }

  // Every byte belongs to exactly one tensor. Otherwise a small file could require much memory.
  void check_places(std::vector<SafetensorsEntry>& all) const {
    std::ranges::sort(all, {}, &SafetensorsEntry::name);
    if (const auto twice = std::ranges::adjacent_find(all, {}, &SafetensorsEntry::name); twice != all.end())
      bad("tensor '", shown_name(twice->name), "' is there twice");
    std::ranges::sort(all,
                      [](auto& a, auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::uint64_t at = 0;
    for (auto& e : all) {
      if (e.begin > e.end || e.end > body)
        bad("tensor '", shown_name(e.name), "': bytes ", e.begin, " to ", e.end, " of ", body);
      if (e.begin != at) bad("tensors overlap or leave a gap at byte ", at);
      at = e.end;
    }
    if (at != body) bad(body - at, " bytes belong to no tensor");
  }

  // Makes an entry, or says why there is none.
  void take(SafetensorsEntry&& e, const ReadOptions& options) {
    const auto unheld = [&](const auto&... what) {
      std::ostringstream text;
      text.imbue(std::locale::classic());
      text << where << ": tensor '" << shown_name(e.name) << "' has ";
      (text << ... << what);
      out.unreadable.emplace(e.name, text.str());
    };
    const Name* known = find_name(e.dtype);
    if (known) check_size(e, static_cast<std::uint64_t>(known->type.size));
    const auto dtype = known ? dtype_for(known->type, options) : std::nullopt;
    if (!dtype)
      return unheld("dtype ", shown_name(e.dtype), ", which bobbin does not hold",
                    known ? "; ReadOptions::convert reads it" : "");
    if (e.shape.size() > static_cast<std::size_t>(max_rank))
      return unheld(e.shape.size(), " dimensions; bobbin's tensors have at most ", max_rank);
    Shape shape;
    for (const std::uint64_t n : e.shape) shape.push_back(static_cast<std::int64_t>(n));
    entries.push_back({e.begin, e.end, std::move(e.name), known->type, {shape, *dtype, {}}});
  }

  void check_size(const SafetensorsEntry& e, std::uint64_t size) const {
    bool overflow = false, empty = false;
    for (const std::uint64_t n : e.shape) {
      if (n > static_cast<std::uint64_t>(INT64_MAX))
        bad("tensor '", shown_name(e.name), "' has a size of ", n);
      overflow |= __builtin_mul_overflow(size, n, &size);
      empty |= n == 0;
    }
    if (empty) size = 0;
    if ((overflow && !empty) || e.end - e.begin != size)
      bad("tensor '", shown_name(e.name), "': bytes ", e.begin, " to ", e.end, " do not hold ", e.dtype, "[",
          fmt::format("{}", fmt::join(e.shape, ",")), "]");
  }

  std::string where_is(const Entry& e) const { return where + ": tensor '" + shown_name(e.key) + "'"; }

  // The elements of an entry as a tensor of its own.
  Tensor load(const Entry& e, const ReadOptions& options) const {
    Tensor t = empty(e.spec);
    const auto n = static_cast<std::size_t>(t.numel());
    if (same_bytes(e.type, e.spec.dtype)) {
      if (in.read_at(body_at + e.begin, t.raw(), e.end - e.begin) < e.end - e.begin) bad("truncated");
      take_elements(where_is(e), e.type, t.raw<char>(), n, e.spec.dtype, t.raw<char>(), options);
      return t;
    }
    constexpr std::size_t block = 1 << 13;
    const auto size = static_cast<std::size_t>(e.type.size),
               wide = static_cast<std::size_t>(size_of(e.spec.dtype));
    std::vector<char> bytes(block * size);
    for (std::size_t done = 0; done < n; done += block) {
      const std::size_t now = std::min(block, n - done);
      if (in.read_at(body_at + e.begin + done * size, bytes.data(), now * size) < now * size)
        bad("truncated");
      take_elements(where_is(e), e.type, bytes.data(), now, e.spec.dtype, t.raw<char>() + done * wide,
                    options);
    }
    return t;
  }
};

}  // namespace

TensorFile load_safetensors(const std::filesystem::path& path, const ReadOptions& options) {
  Opened file("load_safetensors", path, options);
  TensorFile out = std::move(file.out);
  for (auto& e : file.entries) out.tensors.emplace(e.key, file.load(e, options));
  return out;
}

TensorFile map_safetensors(const std::filesystem::path& path, const ReadOptions& options) {
  Opened file("map_safetensors", path, options);
  TensorFile out = std::move(file.out);
  std::shared_ptr<const void> owner;
  char* map = nullptr;
  if (file.body > 0) {
    const std::uint64_t size = file.body_at + file.body;
    // A private mapping: writing to a tensor changes a copy of its page, not the file.
    void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.in.descriptor(), 0);
    if (at == MAP_FAILED)
      fail<IoError>(file.where, " cannot be mapped: ", std::generic_category().message(errno));
    map = static_cast<char*>(at);
    owner = std::shared_ptr<const void>(at, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  }
  for (auto& e : file.entries) {
    char* const bytes = map ? map + file.body_at + e.begin : nullptr;
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(bytes) % static_cast<std::uintptr_t>(size_of(e.spec.dtype)) == 0;
    // Bools are looked at, and may have to be changed.
    const bool in_place = aligned && e.end > e.begin && same_bytes(e.type, e.spec.dtype);
    const auto n = static_cast<std::size_t>(numel(e.spec.shape));
    Tensor t;
    if (!in_place) {
      t = file.load(e, options);
    } else {
      if (e.type.kind == 'b') take_elements(file.where_is(e), e.type, bytes, n, e.spec.dtype, bytes, options);
      t = from_blob(bytes, e.spec, owner);
    }
    out.tensors.emplace(e.key, std::move(t));
  }
  return out;
}

}  // namespace bobbin
