// Reads the header of an npy file: a Python dictionary of a string, a bool and a tuple of integers.
#include "autograd/saving/npy_header.h"

#include <bobbin/error.h>

#include <algorithm>
#include <charconv>

namespace bobbin {
namespace {

class Reader {
 public:
  Reader(const std::string& where, std::string_view text) : where_(where), text_(text) {}

  NpyHeader header() {
    NpyHeader h;
    bool descr = false, order = false, shape = false;
    const auto first = [&](bool& seen, std::string_view key) {
      if (seen) bad("the key '", key, "' is there twice");
      seen = true;
    };
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr") {
        first(descr, key);
        if (peek() == '[') bad("a structured dtype, which bobbin does not hold");
        h.descr = string();
      } else if (key == "fortran_order") {
        first(order, key);
        h.fortran = boolean();
      } else if (key == "shape") {
        first(shape, key);
        h.shape = tuple();
      } else {
        bad("a key that is none of 'descr', 'fortran_order', 'shape'");
      }
      if (!accept(',') && peek() != '}') bad("expected ',' or '}'");
    }
    if (peek() != '\0' || at_ != text_.size()) bad("something stands behind the dictionary");
    if (!descr || !order || !shape) bad("'descr', 'fortran_order' and 'shape' are not all there");
    return h;
  }

 private:
  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    const std::string_view before = text_.substr(0, std::min(at_, text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const auto column = at_ - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    fail<FormatError>(where_, ": header, line ", line, ", column ", column, ": ", what...);
  }

  // The next character behind white space; 0 at the end.
  char peek() {
    at_ = std::min(text_.find_first_not_of(" \t\n\v\f\r", at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad("expected '", c, "'");
  }

  std::string_view string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') bad("expected a string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) bad("a string without an end");
    const std::string_view found = text_.substr(at_ + 1, end - at_ - 1);
    if (found.find_first_of("\\\n") != std::string_view::npos) bad("a string with escapes");
    at_ = end + 1;
    return found;
  }

  bool boolean() {
    peek();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    bad("expected True or False");
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> out;
    expect('(');
    bool comma = true;
    while (!accept(')')) {
      if (!comma) bad("expected ',' or ')'");
      peek();
      std::int64_t n = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), n);
      const bool zeros = end - begin > 1 && *begin == '0';
      if (error != std::errc() || n < 0 || zeros || *begin == '-') bad("expected a size of 0 to 2^63 - 1");
      at_ += static_cast<std::size_t>(end - begin);
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // long integers of Python 2
      out.push_back(n);
      comma = accept(',');
    }
    if (out.size() == 1 && !comma) bad("a tuple of one size needs a comma");
    return out;
  }

  const std::string& where_;
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

NpyHeader read_npy_header(const std::string& where, std::string_view text) {
  return Reader(where, text).header();
}

}  // namespace bobbin
