// The layers of the three classifiers.
#include "mnist_model.h"

#include <bobbin/augment.h>
#include <bobbin/ops.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

using namespace bobbin;

namespace {

constexpr nn::Conv2dOptions no_bias{{}, false};  // before a normalisation, which has a bias

std::vector<nn::Sequential> perceptron(const std::vector<std::int64_t>& hidden) {
  std::vector<nn::Sequential> out;
  std::int64_t in = pixels;
  for (const std::int64_t n : hidden) out.emplace_back(nn::Linear(std::exchange(in, n), n), relu);
  out.emplace_back(nn::Linear(in, classes));
  return out;
}

// The layers of "cnn": 66,666 parameters.
std::vector<nn::Sequential> convolutional(double dropped) {
  using namespace nn;
  return {Sequential(Conv2d(1, 32, 5, no_bias), MaxPool2d(2), BatchNorm(32), relu),
          Sequential(Conv2d(32, 64, 3, no_bias), BatchNorm(64), relu),
          Sequential(Conv2d(64, 64, 3, no_bias), MaxPool2d(2), BatchNorm(64), relu),
          Sequential(Flatten(), Dropout(dropped), Linear(1024, classes))};
}

std::vector<nn::Sequential> small_convolutional() {
  using namespace nn;
  return {Sequential(Conv2d(1, 16, 5, no_bias), MaxPool2d(2), BatchNorm(16), relu),
          Sequential(Conv2d(16, 32, 5, no_bias), MaxPool2d(2), BatchNorm(32), relu),
          Sequential(Flatten(), Linear(512, classes))};
}

}  // namespace

Classifier::Classifier(std::string k, std::vector<std::int64_t> h, const ImageSet& set)
    : kind(std::move(k)), hidden(std::move(h)), mirrors(set.symmetric && kind != "mlp") {
  const double dropped = set.symmetric ? 0 : 0.3;  // for clothes, dropout does not help within a few epochs
  layers = kind == "mlp"   ? perceptron(hidden)
           : kind == "cnn" ? convolutional(dropped)
                           : small_convolutional();
}

Tensor Classifier::operator()(const Tensor& images) const {
  Tensor x = kind == "mlp" ? images : reshape(images, {images.size(0), 1, side, side});
  for (auto& layer : layers) x = layer(x);
  return x;
}

Tensor Classifier::classify(const Tensor& images) const {
  const Tensor logits = (*this)(images);
  if (!mirrors) return logits;
  const Tensor square = reshape(images, {images.size(0), 1, side, side});
  const Tensor other = (*this)(reshape(random_flip(square, 1), images.shape()));
  return logsumexp(stack({log_softmax(logits), log_softmax(other)}), {0}) - std::log(2.);
}

void Classifier::each(nn::Visit& v) {
  for (std::size_t i = 0; i < layers.size(); ++i) v(fmt::format("layers.{}", i), layers[i]);
}

Tensor Classifier::filters() {
  const Tensor weight = nn::parameters(*this).front().detach();
  return reshape(weight, {weight.size(0), weight.numel() / weight.size(0)});
}

std::string Classifier::title() const {
  if (kind != "mlp") return kind == "cnn" ? "CNN" : "small CNN";
  return fmt::format("MLP {}-{}-{}", pixels, fmt::join(hidden, "-"), classes);
}
