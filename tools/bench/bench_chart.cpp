// Draws the measurements of the compare scripts. usage: bench_chart CHARTS.json PICTURE.png
//   {"charts": [[CHART, ...], ...]}   rows of charts, each of them lines or bars:
//   {"title", "x_label", "y_label", "series": [{"name", "x": [...], "y": [...]}, ...]}
//   {"title", "y_label", "names": [...], "values": [...]}
#include <bobbin/bobbin.h>
#include <bobbin/plot.h>
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace {

using namespace bobbin;
using nlohmann::json;

plot::Image draw(const json& chart) {
  plot::Axes axes;
  axes.title = chart.value("title", "");
  axes.x_label = chart.value("x_label", "");
  axes.y_label = chart.value("y_label", "");
  axes.y_min = 0;
  if (chart.contains("names"))
    return plot::bars(chart["names"].get<std::vector<std::string>>(),
                      chart["values"].get<std::vector<double>>(), axes);
  std::vector<plot::Series> series;
  for (const json& s : chart.at("series"))
    series.push_back(
        {s.at("name"), s.at("x").get<std::vector<double>>(), s.at("y").get<std::vector<double>>()});
  return plot::lines(series, axes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: {} CHARTS.json PICTURE.png\n", argv[0]);
    return 2;
  }
  try {
    std::ifstream file(argv[1]);
    if (!file) fail<IoError>(argv[1], " cannot be read");
    const json all = json::parse(file);
    std::vector<plot::Image> rows;
    for (const json& row : all.at("charts")) {
      std::vector<plot::Image> images;
      for (const json& chart : row) images.push_back(draw(chart));
      rows.push_back(plot::beside(images));
    }
    plot::save_png(plot::below(rows), argv[2]);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_chart: {}\n", e.what());
    return 1;
  }
}
