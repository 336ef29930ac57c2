// A small network classifies the points of three arms of a spiral; draws its decisions over the plane.
//   spiral [--out spiral.png]
// Classifies 300 of 300 points correctly after 1000 steps, half a second on two cores.
#include <bobbin/bobbin.h>

#include <cmath>
#include <iostream>

#include "tools/options/options.h"

using namespace bobbin;

constexpr std::int64_t arms = 3, per_arm = 100;
constexpr int side = 600;     // of the picture
constexpr double edge = 1.2;  // of the plane that is drawn

struct Net {
  nn::Linear first{2, 64}, second{64, 64}, third{64, arms};
  Tensor operator()(const Tensor& x) const {
    return third(second(first(x, Activation::tanh), Activation::tanh));
  }
  void each(nn::Visit& v) { v("first", first), v("second", second), v("third", third); }
};

/// Points [n, 2], and the number of each point's arm.
std::pair<Tensor, Tensor> spiral() {
  const Tensor radius = linspace(.05, 1, per_arm);
  std::vector<Tensor> points, labels;
  for (std::int64_t arm = 0; arm < arms; ++arm) {
    const Tensor angle =
        radius * 5 + 2 * 3.14159265358979 * static_cast<double>(arm) / arms + randn({per_arm}) * .12;
    points.push_back(stack({radius * cos(angle), radius * sin(angle)}, 1));
    labels.push_back(full({per_arm}, static_cast<double>(arm), DType::i64));
  }
  return {concat(points), concat(labels)};
}

/// Each pixel in the colour of its most likely class, paler if its probability is lower; the points on top.
plot::Image picture(const Net& net, const Tensor& points, const Tensor& labels) {
  const Tensor axis = linspace(-edge, edge, side);
  const Tensor grid =
      reshape(stack({expand(unsqueeze(axis, 0), {side, side}), expand(unsqueeze(-axis, 1), {side, side})}, 2),
              {side * side, 2});
  const NoGrad quiet;
  const Tensor p = softmax(net(grid));
  const auto best = argmax(p, 1).to_vector<std::int64_t>();
  const auto sure = amax(p, {1}).to_vector<float>();
  plot::Image image(side, side);
  for (std::size_t i = 0; i < best.size(); ++i) {
    const plot::Color c = plot::series_color(static_cast<std::size_t>(best[i]));
    const float strength = .15F + .35F * std::max(0.F, (sure[i] * arms - 1) / (arms - 1));
    const auto mix = [&](std::uint8_t v) {
      return static_cast<std::uint8_t>(255 - strength * static_cast<float>(255 - v));
    };
    image.pixels()[i] = {mix(c.r), mix(c.g), mix(c.b)};
  }
  const auto at = [](double v) { return static_cast<int>((v + edge) / (2 * edge) * side); };
  for (std::int64_t i = 0; i < points.size(0); ++i) {
    const plot::Color c = plot::series_color(static_cast<std::size_t>(labels.at({i})));
    const int x = at(points.at({i, 0})), y = at(-points.at({i, 1}));
    for (int dy = -4; dy <= 4; ++dy)
      for (int dx = -4; dx <= 4; ++dx)
        if (dx * dx + dy * dy <= 16)
          image.at(x + dx, y + dy) = dx * dx + dy * dy > 9 ? plot::Color{255, 255, 255} : c;
  }
  return image;
}

int main(int argc, char** argv) try {
  std::string out = "spiral.png";
  std::int64_t steps = 1000;
  tools::Options options("Learns three arms of a spiral and draws the plane.");
  options.add("--out", out, "the picture");
  options.add("--steps", steps, "of training").range(1, 1000000);
  if (const auto status = options.parse(argc, argv)) return *status;

  manual_seed(1);
  const auto [points, labels] = spiral();
  Net net;
  optim::AdamW adam(nn::parameters(net), {.lr = .01});
  const optim::Cosine rate{.01, steps};
  for (std::int64_t step = 0; step < steps; ++step) {
    const Tensor loss = cross_entropy(net(points), labels);
    adam.zero_grad();
    backward(loss);
    adam.lr = rate(step);
    adam.step();
    if (step == 0 || step % 200 == 199) std::cout << "step " << step + 1 << "  loss " << loss.item() << '\n';
  }
  const Tensor right = sum(eq(argmax(net(points), 1), labels));
  std::cout << right.item<std::int64_t>() << " of " << labels.numel() << " points right\n";
  plot::save_png(picture(net, points, labels), out);
  std::cout << "drew " << out << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << "spiral: " << e.what() << '\n';
  return 1;
}
