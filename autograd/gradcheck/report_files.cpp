#include "autograd/gradcheck/report_files.h"

#include <bobbin/plot.h>
#include <fmt/format.h>
#include <tinyxml2.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

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

constexpr double coolest = -8, hottest = 8;  // powers of ten of the error by its tolerance

double heat(double by_tolerance) {
  return std::isnan(by_tolerance) ? by_tolerance
                                  : std::clamp(std::log10(std::max(by_tolerance, 1e-300)), coolest, hottest);
}

// A row of cells for each row of elements. At most 128 x 128, each with the largest of what it stands for.
plot::Image heat_map(const std::vector<double>& errors, const Shape& shape, const std::string& title) {
  const auto n = static_cast<std::int64_t>(errors.size());
  const std::int64_t wide = shape.size() > 0 ? shape[shape.size() - 1] : 1, high = n / wide;
  const std::int64_t columns = std::min<std::int64_t>(wide, 128), rows = std::min<std::int64_t>(high, 128);
  std::vector<double> cells(static_cast<std::size_t>(rows * columns), coolest);
  for (std::int64_t i = 0; i < n; ++i) {
    double& cell =
        cells[static_cast<std::size_t>(i / wide * rows / high * columns + i % wide * columns / wide)];
    const double own = heat(errors[static_cast<std::size_t>(i)]);
    if (!(own <= cell)) cell = own;
  }
  plot::HeatMap options;
  options.title = title;
  options.x_label = "log10 of error by tolerance: red is wrong";
  options.low = coolest, options.high = hottest;
  options.colors = plot::ColorMap::diverging;
  return plot::heat_map(cells, static_cast<int>(rows), static_cast<int>(columns), options);
}

plot::Image stacked(const std::vector<plot::Image>& images) {
  int width = 0, height = 0;
  for (auto& i : images) width = std::max(width, i.width()), height += i.height();
  plot::Image all(width, height);
  int top = 0;
  for (auto& i : images) {
    for (int y = 0; y < i.height(); ++y)
      for (int x = 0; x < i.width(); ++x) all.at(x, top + y) = i.at(x, y);
    top += i.height();
  }
  return all;
}

bool failed(Verdict v) { return v != Verdict::pass && v != Verdict::skip && v != Verdict::inconclusive; }

const CheckResult* of_interest(std::span<const CheckResult> results) {
  const CheckResult* chosen = nullptr;
  for (auto& r : results) {
    if (std::ranges::all_of(r.report.errors, [](auto& e) { return e.empty(); })) continue;
    if (failed(r.report.verdict)) return &r;
    if (!chosen || r.report.worst > chosen->report.worst) chosen = &r;
  }
  return chosen;
}

}  // namespace

void write_text(std::string_view what, const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(what, path);
  file.write(text.data(), text.size());
  file.commit();
}

Summary summarize(std::span<const CheckResult> results) {
  Summary s;
  std::set<std::string> ops;
  std::set<std::pair<std::string, std::string>> samples;
  for (auto& r : results) {
    ops.insert(r.op);
    samples.emplace(r.op, r.sample);
    ++s.checks;
    const Verdict v = r.report.verdict;
    ++(v == Verdict::pass           ? s.passed
       : v == Verdict::skip         ? s.skipped
       : v == Verdict::inconclusive ? s.inconclusive
                                    : s.failed);
    s.derivatives += r.report.elements;
  }
  s.ops = static_cast<int>(ops.size());
  s.samples = static_cast<int>(samples.size());
  return s;
}

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
  write_text("gradcheck --json", path, out.dump(1) + "\n");
}

void write_junit(const std::filesystem::path& path, std::span<const CheckResult> results) {
  tinyxml2::XMLPrinter xml;
  xml.PushHeader(false, true);
  xml.OpenElement("testsuites");
  for (std::size_t begin = 0, end; begin < results.size(); begin = end) {
    end = begin;
    while (end < results.size() && results[end].op == results[begin].op) ++end;
    const auto suite = results.subspan(begin, end - begin);
    const Summary s = summarize(suite);
    xml.OpenElement("testsuite");
    xml.PushAttribute("name", suite.front().op.c_str());
    xml.PushAttribute("tests", s.checks);
    xml.PushAttribute("failures", s.failed + s.inconclusive);
    xml.PushAttribute("skipped", s.skipped);
    for (auto& r : suite) {
      const std::string text = fmt::format("{}: {}", name(r.report.verdict), r.report.failure);
      xml.OpenElement("testcase");
      xml.PushAttribute("classname", r.op.c_str());
      xml.PushAttribute("name", fmt::format("{}, {}", r.sample, r.check).c_str());
      xml.PushAttribute("time", fmt::format("{:.6f}", r.seconds).c_str());
      if (r.report.verdict != Verdict::pass) {
        xml.OpenElement(r.report.verdict == Verdict::skip ? "skipped" : "failure");
        xml.PushAttribute("message", text.c_str());
        xml.CloseElement();
      }
      xml.CloseElement();
    }
    xml.CloseElement();
  }
  xml.CloseElement();
  write_text("gradcheck --junit", path, xml.CStr());
}

bool write_png(const std::filesystem::path& path, std::span<const CheckResult> results) {
  const CheckResult* r = of_interest(results);
  if (!r) return false;
  std::vector<plot::Image> images;
  for (std::size_t k = 0; k < r->report.errors.size(); ++k)
    if (!r->report.errors[k].empty())
      images.push_back(heat_map(
          r->report.errors[k], r->report.shapes[k],
          fmt::format("{} ({}), {}, input {}: {}", r->op, r->sample, r->check, k, name(r->report.verdict))));
  plot::save_png(stacked(images), path);
  return true;
}

}  // namespace bobbin::gradcheck_detail
