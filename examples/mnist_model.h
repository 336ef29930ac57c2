// The classifiers of the MNIST example: a perceptron, and two convolutional networks.
#pragma once
#include <bobbin/layers.h>

#include <string>
#include <vector>

#include "mnist_data.h"

struct Classifier {
  std::string kind;                  // "mlp", "cnn" or "cnn-small"
  std::vector<std::int64_t> hidden;  // of a perceptron
  bool mirrors;                      // classify() looks at both sides
  std::vector<bobbin::nn::Sequential> layers;

  /// As it learns this data set best.
  Classifier(std::string kind, std::vector<std::int64_t> hidden, const ImageSet&);
  /// Images f32 [n, 784] -> logits [n, 10].
  bobbin::Tensor operator()(const bobbin::Tensor& images) const;
  /// The same, to be tested: where images were mirrored in training, by what an image and its mirror image
  /// give on average.
  bobbin::Tensor classify(const bobbin::Tensor& images) const;
  void each(bobbin::nn::Visit& v);
  /// What the first layer looks for: [filters, pixels of one].
  bobbin::Tensor filters();
  std::string title() const;
};
