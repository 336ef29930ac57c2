// Reads the number of a CSV field without a detour through a type that cannot hold it.
#include "autograd/data/csv_number.h"

#include <bobbin/error.h>
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/convert.h"

namespace bobbin {
namespace {

template<class T>
std::errc parse(std::string_view text, T& v) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error == std::errc()) return end == text.data() + text.size() ? error : std::errc::invalid_argument;
  return error;
}

// The range of an integer dtype.
std::pair<std::int64_t, std::int64_t> range_of(DType d) {
  if (d == DType::u8) return {0, 255};
  if (d == DType::boolean) return {0, 1};
  if (d == DType::i32)
    return {std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()};
  return {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
}

// "3", "3.0" and "3e2", where the number is one of the dtype's.
bool whole(std::string_view text, DType d, std::int64_t& v) {
  if (parse(text, v) != std::errc()) {
    double x = 0;
    constexpr double exact = 9007199254740992;  // 2^53: from there on, a double may stand for another number
    if (parse(text, x) != std::errc() || std::trunc(x) != x || std::abs(x) >= exact) return false;
    v = static_cast<std::int64_t>(x);
  }
  const auto [least, most] = range_of(d);
  return v >= least && v <= most;
}

}  // namespace

std::optional<std::string> csv_number(std::string_view field, DType dtype, void* out) {
  const auto bad = [&](std::string_view what) {
    return fmt::format("'{}' is {}", field.substr(0, 100), what);
  };
  std::string_view text = field;
  const auto first = text.find_first_not_of(" \t");
  text = first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t") + 1 - first);
  const bool floating = is_floating(dtype);
  if (text.empty() && !floating) return fmt::format("an empty field is no value of {}", name(dtype));
  // from_chars accepts no plus sign; behind one, no other sign may stand.
  if (text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
  if (!floating) {
    std::int64_t v = 0;
    if (double x = 0; parse(text, x) == std::errc::invalid_argument) return bad("no number");
    if (!whole(text, dtype, v)) return bad(fmt::format("no value of {}", name(dtype)));
    convert(DType::i64, &v, 0, dtype, out, 1);
    return {};
  }
  double v = std::numeric_limits<double>::quiet_NaN();
  const std::errc error = text.empty() ? std::errc() : parse(text, v);
  if (error == std::errc::result_out_of_range) return bad("out of range");
  if (error != std::errc()) return bad("no number");
  if (float f = 0; dtype == DType::f32 && !text.empty() && parse(text, f) == std::errc()) {
    std::memcpy(out, &f, sizeof f);  // rounded once, from the text
    return {};
  }
  convert(DType::f64, &v, 0, dtype, out, 1);
  double back = 0;
  convert(dtype, out, 0, DType::f64, &back, 1);
  if (std::isfinite(v) && !std::isfinite(back)) return bad(fmt::format("out of range of {}", name(dtype)));
  return {};
}

}  // namespace bobbin
