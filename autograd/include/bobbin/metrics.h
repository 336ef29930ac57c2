// Figures of a training run, step by step, for a spreadsheet or a notebook.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bobbin {

/// Writes scalars to a file: one line for each step, flushed, so that an interrupted run keeps its lines.
///   MetricsLog log("run.csv");
///   log.add(step, {{"loss", loss.item()}, {"accuracy", accuracy}});
class MetricsLog {
 public:
  /// JSON lines for a path that ends in .jsonl; else CSV, whose columns are those of the first line. A file
  /// that is there is replaced. Throws IoError.
  explicit MetricsLog(const std::filesystem::path&);
  /// Throws IoError; ValueError for other names than the first line's in a CSV file.
  void add(std::int64_t step, std::initializer_list<std::pair<std::string_view, double>> scalars);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
  bool json_;
  std::vector<std::string> columns_;
};

}  // namespace bobbin
