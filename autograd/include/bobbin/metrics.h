// MetricsLog: writes the numbers of a training run, step by step, to a file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace bobbin {

/// Writes scalars to a file: one line per step, written at once, so that an interrupted run keeps its lines.
/// Numbers do not follow the locale.
///   MetricsLog log("run.csv");
///   log.add(step, {{"loss", loss.item()}, {"accuracy", accuracy}});
class MetricsLog {
 public:
  /// What happens to a file that is there.
  enum class Mode {
    replace,  ///< its lines go
    append,   ///< they stay, for a run that is resumed; a last line that was cut off goes
  };
  /// Writes JSON lines if the path ends in .jsonl; else CSV, whose columns are the names of the first call,
  /// or those of the file that is continued. Follows symbolic links; a terminal or /dev/stdout may be written
  /// to, a FIFO if it has a reader. Throws IoError; FormatError if the file to continue is no table of this
  /// log.
  explicit MetricsLog(const std::filesystem::path&, Mode = Mode::replace);
  ~MetricsLog();
  /// The new log continues the file.
  MetricsLog(MetricsLog&&) noexcept;
  /// The same; closes the file that this log had.
  MetricsLog& operator=(MetricsLog&&) noexcept;
  /// Writes a line. Throws IoError; ValueError in a CSV file for other names than its columns.
  void add(std::int64_t step, std::initializer_list<std::pair<std::string_view, double>> scalars);

 private:
  struct File;
  std::unique_ptr<File> file_;
};

}  // namespace bobbin
