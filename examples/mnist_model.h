// The classifiers of the MNIST example: a perceptron, and two convolutional networks.
#pragma once
#include <bobbin/layers.h>

#include <string>
#include <vector>

struct Classifier {
  std::string kind;                  // "mlp", "cnn" or "cnn-small"
  std::vector<std::int64_t> hidden;  // of a perceptron
  std::vector<bobbin::nn::Sequential> layers;

  Classifier(std::string kind, std::vector<std::int64_t> hidden);
  /// Images f32 [n, 784] -> logits [n, 10].
  bobbin::Tensor operator()(const bobbin::Tensor& images) const;
  void each(bobbin::nn::Visit& v);
  /// What the first layer looks for: [filters, pixels of one].
  bobbin::Tensor filters();
  std::string title() const;
};
