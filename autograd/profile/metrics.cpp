// MetricsLog: writes the numbers of a run as CSV or as lines of JSON.
#include <bobbin/error.h>
#include <bobbin/metrics.h>
#include <fmt/format.h>

#include <algorithm>

#include "autograd/profile/json.h"

namespace bobbin {

MetricsLog::MetricsLog(const std::filesystem::path& path)
    : path_(path), out_(path), json_(path.extension() == ".jsonl") {
  if (!out_) fail<IoError>("MetricsLog: ", path.string(), " cannot be written");
}

void MetricsLog::add(std::int64_t step, std::initializer_list<std::pair<std::string_view, double>> scalars) {
  if (json_) {
    out_ << fmt::format("{{\"step\":{}", step);
    for (auto& [name, value] : scalars) out_ << ',' << json_string(name) << ':' << json_number(value);
    out_ << '}' << std::endl;
  } else {
    if (columns_.empty()) {
      out_ << "step";
      for (auto& [name, value] : scalars) out_ << ',' << columns_.emplace_back(name);
      out_ << '\n';
    }
    if (!std::ranges::equal(columns_, scalars, {}, {}, [](auto& s) { return s.first; }))
      fail<ValueError>("MetricsLog: ", path_.string(), " has columns of other names");
    out_ << step;
    for (auto& [name, value] : scalars) out_ << ',' << fmt::format("{}", value);
    out_ << std::endl;
  }
  if (!out_) fail<IoError>("MetricsLog: ", path_.string(), " cannot be written");
}

}  // namespace bobbin
