// NumPy's format of one array: a header that is a Python literal, then the elements. See
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include "autograd/saving/npy.h"

#include <bobbin/elementwise.h>
#include <bobbin/saving.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "autograd/saving/elements.h"
#include "autograd/saving/npy_header.h"
#include "core/atomic_file.h"
#include "core/input_file.h"

namespace bobbin {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 7> descriptions{{{DType::f64, "<f8"},
                                                                          {DType::f32, "<f4"},
                                                                          {DType::f16, "<f2"},
                                                                          {DType::i64, "<i8"},
                                                                          {DType::i32, "<i4"},
                                                                          {DType::u8, "|u1"},
                                                                          {DType::boolean, "|b1"}}};

// "<f4", ">f4", "=f4", "f4", "|u1", "<u1", "u1", "|b1", "?": NumPy reads each of them.
std::optional<ElementType> element_type(std::string_view descr) {
  bool swapped = false;
  if (!descr.empty() && std::string_view("<>=|").find(descr[0]) != std::string_view::npos) {
    swapped = descr[0] == '>';
    descr.remove_prefix(1);
  }
  if (descr == "?") return ElementType{'b', 1};
  if (descr.size() != 2 || descr[1] < '1' || descr[1] > '8') return {};
  if (std::string_view("fiub").find(descr[0]) == std::string_view::npos) return {};
  return ElementType{descr[0], descr[1] - '0', swapped};
}

// Reads all elements into t, those that need a conversion block by block.
bool read_elements(const std::string& where, const ElementType& type, Tensor& t,
                   const std::function<std::size_t(char*, std::size_t)>& read, const ReadOptions& options) {
  const auto n = static_cast<std::size_t>(t.numel()), size = static_cast<std::size_t>(type.size),
             wide = static_cast<std::size_t>(size_of(t.dtype()));
  if (same_bytes(type, t.dtype())) {
    if (read(t.raw<char>(), n * size) != n * size) return false;
    take_elements(where, type, t.raw<char>(), n, t.dtype(), t.raw<char>(), options);
    return true;
  }
  constexpr std::size_t block = 1 << 13;
  std::vector<char> bytes(block * size);
  for (std::size_t done = 0; done < n; done += block) {
    const std::size_t now = std::min(block, n - done);
    if (read(bytes.data(), now * size) != now * size) return false;
    take_elements(where, type, bytes.data(), now, t.dtype(), t.raw<char>() + done * wide, options);
  }
  return true;
}

}  // namespace

std::string npy_bytes(std::string_view op, const Tensor& t) {
  const auto* known =
      std::find_if(descriptions.begin(), descriptions.end(), [&](auto& d) { return d.first == t.dtype(); });
  if (known == descriptions.end())
    fail<DTypeError>(op, ": NumPy has no ", t.dtype(), "; convert it with to(x, DType::f32)");
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': (", known->second);
  for (const std::int64_t n : t.shape()) text += fmt::format("{}, ", n);
  text += "), }";
  text.append(63 - (10 + text.size()) % 64, ' ').push_back('\n');  // elements begin on a multiple of 64
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes.append(reinterpret_cast<const char*>(&length), 2).append(text);
  const NoGrad quiet;
  const Tensor here = contiguous(to(t.detach(), Device::cpu()));
  return bytes.append(here.raw<char>(), static_cast<std::size_t>(here.numel() * size_of(here.dtype())));
}

Tensor npy_tensor(const std::string& where, std::uint64_t size,
                  const std::function<std::size_t(char*, std::size_t)>& read, const ReadOptions& options) {
  const auto bad = [&](const auto&... what) { fail<FormatError>(where, ": ", what...); };
  if (size == 0) bad("it is empty");
  std::array<char, 12> head{};
  const auto byte = [&](std::size_t i) { return std::uint64_t{static_cast<unsigned char>(head[i])}; };
  if (read(head.data(), 10) < 10 || std::string_view(head.data(), 6) != "\x93NUMPY")
    bad("no NPY header: it does not begin with \\x93NUMPY");
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0)
    bad("version ", byte(6), ".", byte(7), " of the NPY format; known are 1.0, 2.0 and 3.0");
  const bool wide = byte(6) > 1;
  const std::uint64_t begin = wide ? 12 : 10;
  if (wide && read(head.data() + 10, 2) < 2) bad("it ends within the NPY header");
  const std::uint64_t length = byte(8) | byte(9) << 8 | (wide ? byte(10) << 16 | byte(11) << 24 : 0);
  if (length > size - begin) bad("a header of ", length, " bytes does not fit into ", size, " bytes");
  std::string text(length, '\0');
  if (read(text.data(), length) != length) bad("it ends within the NPY header");
  const NpyHeader header = read_npy_header(where, text);

  const auto type = element_type(header.descr);
  const auto dtype = type ? dtype_for(*type, options) : std::nullopt;
  if (!dtype)
    bad("dtype '", header.descr, "', which bobbin does not hold",
        type && dtype_for(*type, {.convert = true}) ? "; ReadOptions::convert reads it" : "");
  if (header.shape.size() > static_cast<std::size_t>(max_rank))
    bad("an array of ", header.shape.size(), " dimensions; bobbin's tensors have at most ", max_rank);
  const Shape shape{std::span(header.shape)};
  std::uint64_t bytes = static_cast<std::uint64_t>(type->size);
  bool overflow = false;
  for (const std::int64_t n : shape)
    overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(n), &bytes);
  if (shape.contains(0)) bytes = 0, overflow = false;
  if (overflow || bytes != size - begin - length)
    bad(size - begin - length, " bytes of elements; the header promises shape ", shape, " of '", header.descr,
        "'");

  Shape stored = shape;
  if (header.fortran) std::reverse(stored.begin(), stored.end());
  Tensor t = empty(stored, *dtype);
  if (!read_elements(where, *type, t, read, options)) bad("it ends within the elements");
  if (!header.fortran) return t;
  Axes order;
  for (int i = t.rank() - 1; i >= 0; --i) order.push_back(i);
  const NoGrad quiet;
  return contiguous(permute(t, order));
}

void save_npy(const std::filesystem::path& path, const Tensor& t) {
  const std::string bytes = npy_bytes("save_npy", t);
  AtomicFile file("save_npy", path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

Tensor load_npy(const std::filesystem::path& path, const ReadOptions& options) {
  InputFile file("load_npy", path);
  return npy_tensor(
      "load_npy: " + file.name(), file.size(), [&](char* out, std::size_t n) { return file.read(out, n); },
      options);
}

}  // namespace bobbin
