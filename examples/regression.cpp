// Predicts one column of a CSV file from the others, and draws the predictions.
//   regression examples/pendulum.csv [--target period_s] [--out regression.png]
// pendulum.csv has the periods of 240 simulated pendulums, with a measurement error of half a percent. A
// fifth of the rows is for validation; R^2 on them reaches 0.999, in a second.
#include <bobbin/bobbin.h>

#include <algorithm>
#include <iostream>
#include <numeric>

#include "tools/options/options.h"

using namespace bobbin;

/// Columns scaled to mean 0 and deviation 1, and their original mean and deviation.
struct Standard {
  explicit Standard(const Tensor& x)
      : mean(bobbin::mean(x, {0}, true)), deviation(bobbin::std(x, {0}, 1, true) + 1e-12) {}
  Tensor to(const Tensor& x) const { return (x - mean) / deviation; }
  Tensor back(const Tensor& x) const { return x * deviation + mean; }
  Tensor mean, deviation;
};

/// Measured values and predictions of the validation rows, in the order of the measured values.
plot::Image picture(const Tensor& measured, const Tensor& predicted, const std::string& name) {
  const auto y = measured.to_vector<double>(), p = predicted.to_vector<double>();
  std::vector<std::size_t> order(y.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::size_t i) { return y[i]; });
  std::vector<plot::Series> series{{.name = "measured"}, {.name = "predicted"}};
  for (std::size_t rank = 0; rank < order.size(); ++rank)
    for (auto& [s, values] : {std::pair{&series[0], &y}, std::pair{&series[1], &p}}) {
      s->x.push_back(static_cast<double>(rank));
      s->y.push_back((*values)[order[rank]]);
    }
  return plot::lines(
      series, {.title = name + " of the rows held out", .x_label = "rows, by " + name, .y_label = name});
}

int main(int argc, char** argv) try {
  std::string path, target, out = "regression.png";
  std::int64_t steps = 1500, hidden = 32, seed = 1;
  tools::Options options("Predicts a column of a CSV file from the others.");
  options.add("csv", path, "the table, whose first line names the columns").required();
  options.add("--target", target, "the column to predict").default_text("the last one");
  options.add("--hidden", hidden, "units of each of two hidden layers; 0: a linear model").range(0, 65536);
  options.add("--steps", steps, "of training").range(1, 1000000);
  options.add("--seed", seed, "of the split and the weights").not_negative();
  options.add("--out", out, "the picture");
  if (const auto status = options.parse(argc, argv)) return *status;

  const Csv table = read_csv(path);
  if (target.empty()) target = table.columns.back();
  const Tensor y = unsqueeze(table[target], 1);
  std::vector<Tensor> features;
  for (auto& name : table.columns)
    if (name != target) features.push_back(table[name]);
  if (features.empty() || y.size(0) < 10)
    fail<ValueError>(path, " has ", features.size(), " other columns and ", y.size(0),
                     " rows; at least 1 and 10 are wanted");
  manual_seed(static_cast<std::uint64_t>(seed));
  const Tensor order = randperm(y.size(0));
  const std::int64_t held = y.size(0) / 5;
  const Tensor train = slice(order, 0, held, y.size(0)), test = slice(order, 0, 0, held);
  const Tensor all = stack(features, 1);
  const Standard in(index_select(all, 0, train)), of(index_select(y, 0, train));
  const auto rows = [&](const Tensor& r) { return in.to(index_select(all, 0, r)); };

  nn::Sequential model;
  const std::int64_t count = all.size(1);
  if (hidden == 0) {
    model.add(nn::Linear(count, 1));
  } else {
    model.add(nn::Linear(count, hidden)), model.add(bobbin::tanh);
    model.add(nn::Linear(hidden, hidden)), model.add(bobbin::tanh);
    model.add(nn::Linear(hidden, 1));
  }
  optim::AdamW adam(nn::parameters(model), {.lr = .01, .weight_decay = 1e-3});
  const optim::Cosine rate{.01, steps};
  const Tensor x = rows(train), wanted = of.to(index_select(y, 0, train));
  for (std::int64_t step = 0; step < steps; ++step) {
    const Tensor loss = mse_loss(model(x), wanted);
    adam.zero_grad();
    backward(loss);
    adam.lr = rate(step);
    adam.step();
    if (step == 0 || step == steps - 1) std::cout << "step " << step + 1 << "  loss " << loss.item() << '\n';
  }

  const NoGrad quiet;
  const Tensor measured = index_select(y, 0, test), predicted = of.back(model(rows(test)));
  const double rest = sum(square(measured - predicted)).item(),
               whole = sum(square(measured - mean(measured))).item();
  std::cout << "R^2 of " << target << " on " << held << " rows held out: " << 1 - rest / whole << '\n';
  plot::save_png(picture(measured, predicted, target), out);
  std::cout << "drew " << out << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << "regression: " << e.what() << '\n';
  return 1;
}
