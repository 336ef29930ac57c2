// The classifiers of the MNIST example: a perceptron, and two convolutional networks.
#pragma once
#include <bobbin/layers.h>

#include <string>
#include <vector>

#include "mnist_data.h"

struct Classifier {
  std::string kind;                  // "mlp", "cnn" or "cnn-small"
  std::vector<std::int64_t> hidden;  // of a perceptron
  bool mirrors;                      // classify() averages over an image and its mirror image
  std::vector<bobbin::nn::Sequential> layers;

  /// The layers and options that are best for this data set.
  Classifier(std::string kind, std::vector<std::int64_t> hidden, const ImageSet&);
  /// Images f32 [n, 784] -> logits [n, 10].
  bobbin::Tensor operator()(const bobbin::Tensor& images) const;
  /// The same, for tests: if images are mirrored in training, the average over an image and its mirror image.
  bobbin::Tensor classify(const bobbin::Tensor& images) const;
  void each(bobbin::nn::Visit& v);
  /// The filters of the first layer: [filters, pixels of a filter].
  bobbin::Tensor filters();
  std::string title() const;
};
