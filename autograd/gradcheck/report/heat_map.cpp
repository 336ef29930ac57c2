// write_png: the errors of a check as a picture.
#include <bobbin/plot.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck/report/files.h"

namespace bobbin::gradcheck_detail {
namespace {

// The range of colours: powers of ten of an error divided by its tolerance.
constexpr double coolest = -8, hottest = 8;

double heat(double by_tolerance) {
  return std::isnan(by_tolerance) ? by_tolerance
                                  : std::clamp(std::log10(std::max(by_tolerance, 1e-300)), coolest, hottest);
}

// One cell per element; beyond 128 x 128, a cell shows the largest error of several elements.
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

bool is_failure(Verdict v) { return v != Verdict::pass && v != Verdict::skip && v != Verdict::inconclusive; }

const CheckResult* of_interest(std::span<const CheckResult> results) {
  const CheckResult* chosen = nullptr;
  for (auto& r : results) {
    if (std::ranges::all_of(r.report.errors, [](auto& e) { return e.empty(); })) continue;
    if (is_failure(r.report.verdict)) return &r;
    if (!chosen || r.report.worst > chosen->report.worst) chosen = &r;
  }
  return chosen;
}

}  // namespace

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
