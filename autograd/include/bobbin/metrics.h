// MetricsLog: writes the numbers of a training run, step by step, to a file.
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

/// Writes scalars to a file: one line per step, flushed, so that an interrupted run keeps its lines.
///   MetricsLog log("run.csv");
///   log.add(step, {{"loss", loss.item()}, {"accuracy", accuracy}});
class MetricsLog {
 public:
  /// Writes JSON lines if the path ends in .jsonl; else CSV, whose columns are the names of the first call.
  /// An existing file is replaced. Throws IoError.
  explicit MetricsLog(const std::filesystem::path&);
  /// Writes a line. Throws IoError; ValueError in a CSV file for other names than those of the first call.
  void add(std::int64_t step, std::initializer_list<std::pair<std::string_view, double>> scalars);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
  bool json_;
  std::vector<std::string> columns_;
};

}  // namespace bobbin
