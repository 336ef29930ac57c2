// NumPy's format of one array: a header that is a Python literal, then the elements. See
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include "autograd/saving/npy.h"

#include <bobbin/elementwise.h>
#include <bobbin/saving.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <sstream>

#include "core/atomic_file.h"

namespace bobbin {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 7> descriptions{{{DType::f64, "<f8"},
                                                                          {DType::f32, "<f4"},
                                                                          {DType::f16, "<f2"},
                                                                          {DType::i64, "<i8"},
                                                                          {DType::i32, "<i4"},
                                                                          {DType::u8, "|u1"},
                                                                          {DType::boolean, "|b1"}}};

struct Header {
  std::string_view descr, shape;
  bool fortran = false;
};

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, keys in this order.
std::optional<Header> read_header(std::string_view text) {
  const auto here = [&](std::string_view token) {
    const bool found = text.starts_with(token);
    if (found) text.remove_prefix(token.size());
    return found;
  };
  const auto next = [&](std::string_view token) {  // after white space
    text.remove_prefix(std::min(text.find_first_not_of(" \t\n\v\f\r"), text.size()));
    return here(token);
  };
  const auto until = [&](std::size_t end) {
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(part.size());
    return part;
  };
  Header h;
  if (!next("{") || !next("'descr':") || !next("'")) return {};
  h.descr = until(text.find('\''));
  if (!here("',") || !next("'fortran_order':")) return {};
  h.fortran = next("True,");
  if ((!h.fortran && !next("False,")) || !next("'shape':") || !next("(")) return {};
  h.shape = until(text.find_first_not_of("0123456789, "));
  if (!here(")")) return {};
  here(",");
  if (!next("}")) return {};
  next("");
  return text.empty() ? std::optional(h) : std::nullopt;
}

}  // namespace

std::string npy_bytes(std::string_view op, const Tensor& t) {
  const auto* known =
      std::find_if(descriptions.begin(), descriptions.end(), [&](auto& d) { return d.first == t.dtype(); });
  if (known == descriptions.end())
    fail<DTypeError>(op, ": NumPy has no ", t.dtype(), "; convert it with to(x, DType::f32)");
  std::ostringstream header;
  header << "{'descr': '" << known->second << "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t n : t.shape()) header << n << ", ";
  header << "), }";
  std::string text = header.str();
  text.append(63 - (10 + text.size()) % 64, ' ').push_back('\n');  // elements begin on a multiple of 64
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes.append(reinterpret_cast<const char*>(&length), 2).append(text);
  const NoGrad quiet;
  const Tensor here = contiguous(to(t.detach(), Device::cpu()));
  return bytes.append(here.raw<char>(), static_cast<std::size_t>(here.numel() * size_of(here.dtype())));
}

std::string read_file(std::string_view op, const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail<IoError>(op, ": ", path.string(), " cannot be opened");
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  if (in.bad()) fail<IoError>(op, ": ", path.string(), " cannot be read");
  return bytes;
}

Tensor npy_tensor(const std::string& name, std::string_view bytes) {
  const auto bad = [&](const auto&... what) { fail<FormatError>("load_npy: ", name, ": ", what...); };
  if (bytes.size() < 12 || bytes.substr(0, 6) != "\x93NUMPY") bad("no NPY header");
  const auto byte = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i]));
  };
  const bool wide = byte(6) > 1;
  const std::size_t length = byte(8) | byte(9) << 8 | (wide ? byte(10) << 16 | byte(11) << 24 : 0),
                    begin = wide ? 12 : 10;
  if (length > bytes.size() - begin) bad("a header of ", length, " bytes does not fit the file");
  const std::string_view text = bytes.substr(begin, length);
  const auto header = read_header(text);
  if (!header) bad("its header is not understood: ", text);
  const auto* known = std::find_if(descriptions.begin(), descriptions.end(),
                                   [&](auto& d) { return d.second == header->descr; });
  if (known == descriptions.end()) bad("dtype ", header->descr, ", which bobbin does not hold");
  Shape shape;
  std::istringstream sizes{std::string(header->shape)};
  for (std::string part; std::getline(sizes, part, ',');)
    if (part.find_first_not_of(' ') != std::string::npos) {
      if (part.size() > 18) bad("a size of ", part);
      shape.push_back(std::stoll(part));
    }
  Shape stored = shape;
  std::reverse(stored.begin(), stored.end());
  const std::string_view body = bytes.substr(begin + length);
  const std::int64_t n = numel(shape);
  if (n > (std::int64_t{1} << 56) || body.size() != static_cast<std::size_t>(n * size_of(known->first)))
    bad(body.size(), " bytes do not hold ", TensorSpec{shape, known->first, {}});
  Tensor t = empty(header->fortran ? stored : shape, known->first);
  std::copy(body.begin(), body.end(), t.raw<char>());
  if (known->first == DType::boolean &&
      std::any_of(body.begin(), body.end(), [](char b) { return (b & ~1) != 0; }))
    bad("it holds a bool that is neither 0 nor 1");
  if (!header->fortran) return t;
  Axes order;
  for (int i = t.rank() - 1; i >= 0; --i) order.push_back(i);
  return contiguous(permute(t, order));
}

void save_npy(const std::filesystem::path& path, const Tensor& t) {
  const std::string bytes = npy_bytes("save_npy", t);
  AtomicFile file("save_npy", path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

Tensor load_npy(const std::filesystem::path& path) {
  return npy_tensor(path.string(), read_file("load_npy", path));
}

}  // namespace bobbin
