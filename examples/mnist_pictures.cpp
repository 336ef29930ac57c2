// Draws curves, digits, filters and the confusion matrix.
#include "mnist_pictures.h"

#include <bobbin/elementwise.h>
#include <bobbin/plot.h>
#include <bobbin/view.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace plot = bobbin::plot;

namespace {

constexpr int side = 28;
constexpr plot::Color red{214, 39, 40};

plot::Series curve(std::string name, const std::vector<Score>& scores, double Score::*value) {
  plot::Series series{std::move(name), {}, {}};
  for (const Score& s : scores) {
    series.x.push_back(s.epoch);
    series.y.push_back(s.*value);
  }
  return series;
}

// An image as a tile, its darkest pixel black and its brightest white.
plot::Tile tile(const bobbin::Tensor& pixels) {
  plot::Tile t{pixels.to_vector<float>(), side, side, "", {}};
  const auto [low, high] = std::ranges::minmax(t.pixels);
  const float range = std::max(high - low, 1e-6f);
  for (float& p : t.pixels) p = (p - low) / range;
  return t;
}

}  // namespace

void draw_curves(const History& history, const std::filesystem::path& path) {
  const auto &training = history.training, &validation = history.validation;
  if (training.empty()) return;
  plot::Axes loss{.title = "Loss", .x_label = "epoch", .y_label = "cross-entropy", .y_min = 0, .y_max = {}};
  plot::Axes accuracy{
      .title = "Accuracy", .x_label = "epoch", .y_label = "percent correct", .y_min = {}, .y_max = 100};
  // The losses of the first steps are much larger: the axes show the values after these steps.
  const auto early = std::ranges::find_if(training, [](const Score& s) { return s.epoch > 0.45; });
  if (early != training.end() && training.back().loss < early->loss) {
    loss.y_max = 1.2 * early->loss;
    accuracy.y_min = std::max(0.0, std::floor(early->accuracy - 2));
  }
  const auto chart = [&](const plot::Axes& axes, double Score::*value) {
    const std::vector series{curve("training", training, value), curve("validation", validation, value)};
    return plot::lines(series, axes);
  };
  save_png(plot::beside({chart(loss, &Score::loss), chart(accuracy, &Score::accuracy)}), path);
}

void draw_digits(const bobbin::Tensor& images, std::span<const std::int64_t> labels,
                 std::span<const std::int64_t> predicted, const std::vector<std::string>& names,
                 const std::filesystem::path& path) {
  constexpr std::size_t shown = 20, per_row = 10;
  std::vector<plot::Tile> first, mistakes;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool right = predicted[i] == labels[i];
    wrong += !right;
    if (first.size() >= shown && (right || mistakes.size() >= shown)) continue;
    plot::Tile t = tile(select(images, 0, static_cast<std::int64_t>(i)));
    t.caption = names[static_cast<std::size_t>(predicted[i])];
    if (!right) {
      t.caption += fmt::format(", is {}", names[static_cast<std::size_t>(labels[i])]);
      t.border = red;
      if (mistakes.size() < shown) mistakes.push_back(t);
    }
    if (first.size() < shown) first.push_back(std::move(t));
  }
  std::vector<plot::Image> parts;
  parts.push_back(plot::tiles(first, per_row, 3, fmt::format("The first {} test images", first.size())));
  if (!mistakes.empty()) {
    const auto title = fmt::format("{} of the {} mistakes among {}", mistakes.size(), wrong, labels.size());
    parts.push_back(plot::tiles(mistakes, per_row, 3, title));
  }
  save_png(plot::below(parts), path);
}

void draw_filters(const bobbin::Tensor& weight, const std::filesystem::path& path) {
  const int wide = static_cast<int>(std::lround(std::sqrt(static_cast<double>(weight.size(1)))));
  std::vector<plot::Tile> filters;
  for (std::int64_t i = 0; i < weight.size(0); ++i)
    filters.push_back({select(weight.detach(), 0, i).to_vector<float>(), wide, wide, "", {}});
  const auto strength = [](const plot::Tile& t) {
    return std::inner_product(t.pixels.begin(), t.pixels.end(), t.pixels.begin(), 0.0);
  };
  std::ranges::stable_sort(filters, std::ranges::greater{}, strength);
  const auto title = fmt::format("First layer: the {} strongest of {} filters",
                                 std::min<std::size_t>(48, filters.size()), filters.size());
  filters.resize(std::min<std::size_t>(48, filters.size()));
  save_png(plot::tiles(filters, 12, 3, title, plot::ColorMap::diverging), path);
}

void draw_confusion(std::span<const std::int64_t> counts, const std::vector<std::string>& names,
                    const std::filesystem::path& path) {
  const std::vector<double> values(counts.begin(), counts.end());
  const int n = static_cast<int>(names.size());
  // There are many more right answers than mistakes, so the colours end a little above the most frequent
  // mistake.
  double most = 1;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (i / names.size() != i % names.size()) most = std::max(most, values[i]);
  const plot::HeatMap map{.title = "Confusion matrix",
                          .x_label = "predicted",
                          .y_label = "true class",
                          .row_labels = names,
                          .column_labels = names,
                          .numbers = true,
                          .decimals = 0,
                          .low = 0,
                          .high = 1.3 * most,
                          .color_bar = false};
  save_png(plot::heat_map(values, n, n, map), path);
}

void print_confusion(std::span<const std::int64_t> counts, const std::vector<std::string>& names) {
  fmt::print("\nconfusion matrix: true classes in rows, predicted ones in columns\n{:12}", "");
  for (std::size_t c = 0; c < names.size(); ++c) fmt::print("{:6}", c);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::size_t row = i / names.size();
    if (i % names.size() == 0)
      fmt::print("\n{:>2} {:9}", row, names[row] == fmt::to_string(row) ? "" : names[row]);
    fmt::print("{:>6}", counts[i] == 0 ? "." : fmt::to_string(counts[i]));
  }
  fmt::print("\n\n");
}
