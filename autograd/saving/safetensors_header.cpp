// Reads and checks the JSON header of safetensors files with nlohmann's streaming parser.
#include "autograd/saving/safetensors_header.h"

#include <bobbin/error.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace bobbin {
namespace {

using json = nlohmann::json;

constexpr int max_depth = 64;          // of values that the format does not know
constexpr std::size_t max_sizes = 64;  // of a shape

class Sax final : public nlohmann::json_sax<json> {
 public:
  explicit Sax(const std::string& where) : where_(where) {}
  SafetensorsHeader header;

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(number_integer_t) override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool number_unsigned(number_unsigned_t v) override {
    if (depth_ != 3 || !numbers_) return other();
    if (numbers_->size() == max_sizes) bad(member(), " is too long");
    numbers_->push_back(v);
    return true;
  }
  bool string(string_t& v) override {
    if (depth_ == 2 && in_metadata_)
      header.metadata.emplace(key_, v);
    else if (depth_ == 2 && key_ == "dtype")
      entry_.dtype = v;
    else
      return other();
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ >= 2) opens();
    ++depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ < 2 || in_metadata_ || (depth_ == 2 && key_ == "dtype")) return other();
    if (depth_ == 2 && (key_ == "shape" || key_ == "data_offsets"))
      numbers_ = key_ == "shape" ? &entry_.shape : &offsets_;
    else
      opens();
    ++depth_;
    return true;
  }
  bool key(string_t& v) override {
    if (depth_ == 1) {
      entry_ = {};
      entry_.name = v;
      offsets_.clear();
      keys_.clear();
      in_metadata_ = v == "__metadata__";
      if (in_metadata_ && metadata_seen_) bad("the key __metadata__ is there twice");
      metadata_seen_ |= in_metadata_;
    } else if (depth_ == 2) {
      key_ = v;
      if (!keys_.insert(v).second) bad(member(), " is there twice");
    }
    return true;
  }
  bool end_object() override {
    if (--depth_ != 1 || in_metadata_) return true;
    for (const char* needed : {"dtype", "shape", "data_offsets"})
      if (!keys_.contains(needed)) bad("tensor '", shown_name(entry_.name), "' has no ", needed);
    if (offsets_.size() != 2) bad("tensor '", shown_name(entry_.name), "': data_offsets must be two numbers");
    entry_.begin = offsets_[0], entry_.end = offsets_[1];
    header.entries.push_back(std::move(entry_));
    return true;
  }
  bool end_array() override {
    if (--depth_ == 2) numbers_ = nullptr;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    bad("it is no JSON: ", shown_name(e.what()));
  }

 private:
  template<class... What>
  [[noreturn]] void bad(const What&... what) const {
    fail<FormatError>(where_, ": its header is not what the format asks for: ", what...);
  }
  // The value that is being read.
  std::string member() const {
    return in_metadata_ ? "__metadata__'s '" + shown_name(key_) + "'"
                        : "tensor '" + shown_name(entry_.name) + "': " + shown_name(key_);
  }
  // A value that may stand only where the format does not look: under a key that it does not know.
  bool other() {
    if (depth_ == 0) bad("it is no JSON object");
    if (depth_ == 1) bad("'", shown_name(entry_.name), "' must be an object");
    if (in_metadata_) bad(member(), " must be a text");
    if (depth_ == 2 && key_ == "dtype") bad(member(), " must be a text");
    if (numbers_ || (depth_ == 2 && (key_ == "shape" || key_ == "data_offsets")))
      bad(member(), " must be a list of whole numbers");
    return true;
  }
  void opens() {
    other();
    if (depth_ >= max_depth) bad("its values are nested more than ", max_depth, " deep");
  }

  const std::string& where_;
  int depth_ = 0;
  bool in_metadata_ = false, metadata_seen_ = false;
  std::string key_;
  std::set<std::string> keys_;  // of this entry
  SafetensorsEntry entry_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::uint64_t>* numbers_ = nullptr;  // the list that is being read
};

}  // namespace

std::string shown_name(std::string_view name) {
  std::string out(name.substr(0, 200));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return name.size() > 200 ? out + "..." : out;
}

SafetensorsHeader read_safetensors_header(const std::string& where, std::string_view text) {
  // The parser would take a NUL for the end of the text.
  if (text.find('\0') != std::string_view::npos)
    fail<FormatError>(where, ": its header is not what the format asks for: it holds a NUL byte");
  Sax sax(where);
  json::sax_parse(text.begin(), text.end(), &sax);
  return std::move(sax.header);
}

std::string json_quoted(const std::string& where, const std::string& text) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    fail<ValueError>(where, ": '", shown_name(text), "' is not UTF-8");
  }
}

}  // namespace bobbin
