// Writes a profile as a table, and as a trace for Perfetto.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <map>

#include "autograd/profile/json.h"
#include "autograd/profile/recorder.h"
#include "core/atomic_file.h"

template<>
struct fmt::formatter<bobbin::TensorSpec> : fmt::ostream_formatter {};

namespace bobbin {

Profiler::Profiler() : recorder_(std::make_shared<Recorder>()) {}
Profiler::~Profiler() = default;

std::vector<ProfileEvent> Profiler::events() const {
  std::vector<ProfileEvent> events;
  for (auto& e : recorder_->ended) {
    events.push_back(e.event);
    events.back().inputs = fmt::format("{}", fmt::join(e.inputs, ", "));
    if (e.device_us) events.back().device_us = e.device_us();
  }
  return events;
}

std::string Profiler::table() const {
  struct Row {
    std::int64_t calls = 0, bytes = 0;
    double self_us = 0, device_us = 0;
  };
  std::map<std::string, Row> by_name;
  double all = 0, device = 0;
  for (auto& e : events()) {
    Row& row = by_name[e.name];
    ++row.calls, row.bytes += e.bytes, row.self_us += e.self_us, row.device_us += e.device_us;
    all += e.self_us, device += e.depth == 0 ? e.device_us : 0;
  }
  std::vector<std::pair<std::string, Row>> rows(by_name.begin(), by_name.end());
  std::ranges::stable_sort(rows, std::greater<>(),
                           [&](auto& r) { return device > 0 ? r.second.device_us : r.second.self_us; });
  std::string out = fmt::format("{:<34}{:>8}{:>14}{:>8}{:>14}{:>14}\n", "", "calls", "self ms", "share",
                                "GPU ms", "MB held more");
  for (auto& [name, r] : rows)
    out += fmt::format("{:<34}{:>8}{:>14.3f}{:>7.1f}%{:>14.3f}{:>14.3f}\n", name, r.calls, r.self_us / 1e3,
                       100 * r.self_us / std::max(all, 1e-9), r.device_us / 1e3,
                       static_cast<double>(r.bytes) / 1e6);
  return out + fmt::format("{:<34}{:>8}{:>14.3f}{:>8}{:>14.3f}\n", "all", recorder_->ended.size(), all / 1e3,
                           "", device / 1e3);
}

void Profiler::write_trace(const std::filesystem::path& path) const {
  std::string text = R"({"displayTimeUnit":"ms","traceEvents":[)";
  const char* separator = "";
  for (auto& e : events()) {
    text += fmt::format(
        R"({}{{"args":{{"GPU us":{},"bytes held more":{},"inputs":{}}},"dur":{},"name":{},"ph":"X","pid":0,"tid":0,"ts":{}}},)",
        separator, json_number(e.device_us), e.bytes, json_string(e.inputs), json_number(e.host_us),
        json_string(e.name), json_number(e.start_us));
    text += fmt::format(R"({{"args":{{"bytes":{}}},"name":"bytes live","ph":"C","pid":0,"ts":{}}})", e.live,
                        json_number(e.start_us + e.host_us));
    separator = ",";
  }
  text += "]}\n";
  AtomicFile file("write_trace", path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace bobbin
