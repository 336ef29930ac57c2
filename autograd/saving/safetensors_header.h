// The JSON header of a safetensors file.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// What the header says of one tensor, before it is compared with the file.
struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  ///< data_offsets: bytes behind the header
};

/// All of the header, in its order.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Reads the text as it streams by, without a tree in memory. Throws FormatError that begins with `where`,
/// for text that is no JSON, lacks a key, has one twice, or has a value of another kind than the format asks
/// for.
SafetensorsHeader read_safetensors_header(const std::string& where, std::string_view text);

/// A JSON string. Throws ValueError that begins with `where` unless the text is UTF-8.
std::string json_quoted(const std::string& where, const std::string& text);

/// A name for a message: one line, shortened.
std::string shown_name(std::string_view);

}  // namespace bobbin
