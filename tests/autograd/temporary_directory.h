// A fixture for tests of files.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace bobbin::tests {

/// A directory of its own for each test, and the path of a file in it.
struct TemporaryDirectory : testing::Test {
  explicit TemporaryDirectory(const char* file = "file") {
    std::string name = testing::TempDir() + "bobbin_XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
    dir = name;
    path = dir / file;
  }
  ~TemporaryDirectory() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }
  /// Writes the file.
  std::filesystem::path written(std::string_view bytes) const {
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::filesystem::path dir, path;
};

}  // namespace bobbin::tests
