// MetricsLog: writes the numbers of a run as CSV or as lines of JSON.
#include <bobbin/error.h>
#include <bobbin/metrics.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "autograd/profile/json.h"
#include "core/input_file.h"
#include "core/output_path.h"

namespace bobbin {
namespace {

// A field of RFC 4180: in quotes if it holds what separates fields.
std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos && !text.empty()) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out += '"';
}

}  // namespace

struct MetricsLog::File {
  std::string name;
  bool json;
  std::string columns = {};  // the first line of CSV; empty before it is known
  int fd = -1;

  ~File() {
    if (fd >= 0) ::close(fd);
  }
  [[noreturn]] void failed() const {
    fail<IoError>("MetricsLog: ", name, " cannot be written: ", std::generic_category().message(errno));
  }
  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = ::write(fd, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) failed();
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void resume(const std::filesystem::path&);
};

// Takes the columns from the file that is there, and cuts off a last line that has no end.
void MetricsLog::File::resume(const std::filesystem::path& path) {
  InputFile old("MetricsLog", path);
  std::string text(1 << 16, '\0');
  // The first line, up to a newline outside quotes.
  bool quoted = false, whole = false;
  while (!json && !whole && columns.size() < 1 << 20) {
    const std::size_t n = old.read(text.data(), text.size());
    if (n == 0) break;
    for (std::size_t i = 0; i < n && !whole; ++i) {
      quoted ^= text[i] == '"';
      whole = text[i] == '\n' && !quoted;
      columns += text[i];
    }
  }
  if (!json && !whole) columns.clear();  // empty, or cut off within the names
  if (whole && columns != "step\n" && !columns.starts_with("step,"))
    fail<FormatError>("MetricsLog: ", name,
                      ", line 1, column 1: expected 'step'; this is no table to continue");
  std::uint64_t end = json || whole ? old.size() : 0;
  while (end > 0) {
    const std::uint64_t begin = end > text.size() ? end - text.size() : 0;
    const std::size_t n = old.read_at(begin, text.data(), static_cast<std::size_t>(end - begin));
    const std::size_t newline = std::string_view(text.data(), n).rfind('\n');
    if (newline != std::string_view::npos) {
      end = begin + newline + 1;
      break;
    }
    end = begin;
  }
  if (end != old.size() && ::ftruncate(fd, static_cast<off_t>(end)) != 0) failed();
}

MetricsLog::MetricsLog(const std::filesystem::path& path, Mode mode)
    : file_(new File{path.string(), path.extension() == ".jsonl"}) {
  const OutputPath out = output_path("MetricsLog", path);
  file_->fd = out.stream;
  if (out.stream >= 0) return;
  const int how = mode == Mode::replace ? O_TRUNC : 0;
  file_->fd =
      ::open(out.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | how, 0666);
  if (file_->fd < 0) file_->failed();
  if (mode == Mode::append) file_->resume(out.file);
}

MetricsLog::~MetricsLog() = default;
MetricsLog::MetricsLog(MetricsLog&&) noexcept = default;
MetricsLog& MetricsLog::operator=(MetricsLog&&) noexcept = default;

void MetricsLog::add(std::int64_t step, std::initializer_list<std::pair<std::string_view, double>> scalars) {
  std::string line;
  if (file_->json) {
    line = fmt::format("{{\"step\":{}", step);
    for (auto& [name, value] : scalars) line += ',' + json_string(name) + ':' + json_number(value);
    file_->write(line += "}\n");
    return;
  }
  std::string columns = "step";
  for (auto& [name, value] : scalars) columns += ',' + csv_field(name);
  columns += '\n';
  const bool first = file_->columns.empty();
  if (!first && file_->columns != columns)
    fail<ValueError>("MetricsLog: ", file_->name, " has columns of other names");
  line = first ? columns : "";
  line += fmt::format("{}", step);
  for (auto& [name, value] : scalars) line += fmt::format(",{}", value);
  file_->write(line += '\n');
  file_->columns = std::move(columns);
}

}  // namespace bobbin
