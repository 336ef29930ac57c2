// Results and the list of operations as JSON. nlohmann's header takes seconds to compile, so no other source
// of the gradient checker includes it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "autograd/gradcheck/report/files.h"
#include "core/atomic_file.h"

namespace bobbin::gradcheck_detail {
namespace {

using json = nlohmann::ordered_json;

json to_json(const Mismatch& m) {
  return {{"order", m.order},         {"input", m.input},
          {"index", m.index},         {"shape", std::vector<std::int64_t>(m.shape.begin(), m.shape.end())},
          {"cotangent", m.cotangent}, {"oracle", m.oracle},
          {"analytic", m.analytic},   {"numeric", m.numeric},
          {"error", m.error()},       {"tolerance", m.tolerance}};
}

json to_json(const CheckResult& r) {
  json out{{"op", r.op},
           {"sample", r.sample},
           {"check", r.check},
           {"verdict", name(r.report.verdict)},
           {"derivatives", r.report.elements},
           {"nonsmooth", r.report.nonsmooth},
           {"inconclusive", r.report.inconclusive},
           {"worst", r.report.worst},
           {"seconds", r.seconds}};
  if (!r.report.failure.empty()) out["message"] = r.report.failure;
  for (auto& m : r.report.mismatches) out["mismatches"].push_back(to_json(m));
  return out;
}

// A name may hold bytes that are not UTF-8; U+FFFD takes their place.
std::string text_of(const json& content) {
  return content.dump(1, ' ', false, json::error_handler_t::replace);
}

void write(const std::filesystem::path& path, const json& content) {
  const std::string text = text_of(content) + "\n";
  AtomicFile file("gradcheck --json", path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace

void write_json(const std::filesystem::path& path, std::span<const CheckResult> results, const Summary& s) {
  json out{{"summary",
            {{"operations", s.ops},
             {"samples", s.samples},
             {"checks", s.checks},
             {"passed", s.passed},
             {"failed", s.failed},
             {"inconclusive", s.inconclusive},
             {"skipped", s.skipped},
             {"derivatives", s.derivatives},
             {"seconds", s.seconds},
             {"complete", s.complete}}},
           {"checks", json::array()}};
  for (auto& r : results) out["checks"].push_back(to_json(r));
  write(path, out);
}

void write_list(const std::filesystem::path& path, std::span<const OpInfo> ops,
                std::span<const SampleCounts> samples, std::span<const ModelInfo> models) {
  json out;
  for (std::size_t i = 0; i < ops.size(); ++i)
    out["operations"].push_back({{"name", ops[i].name},
                                 {"differentiable", ops[i].differentiable},
                                 {"cuda", ops[i].has_cuda},
                                 {"valid", samples[i].valid},
                                 {"edge", samples[i].edge},
                                 {"invalid", samples[i].invalid},
                                 {"differenced", samples[i].checked}});
  for (auto& m : models) out["models"].push_back(m.name);
  if (path == "-")
    fmt::print("{}\n", text_of(out));
  else
    write(path, out);
}

}  // namespace bobbin::gradcheck_detail
