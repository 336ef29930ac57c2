// The pictures and tables of the MNIST example's results.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

/// The loss and accuracy of a model: in training up to a (fractional) epoch, or on a data set.
struct Score {
  double epoch = 0, loss = 0, accuracy = 0;  ///< accuracy in percent
};

struct History {
  std::vector<Score> training, validation;
  double seconds = 0;  // of training, without validation
};

/// Loss and accuracy over the epochs; nothing for a history without training.
void draw_curves(const History&, const std::filesystem::path&);

/// The first test images, and the first mistakes in the whole set, each with the predicted class.
void draw_digits(const bobbin::Tensor& images, std::span<const std::int64_t> labels,
                 std::span<const std::int64_t> predicted, const std::vector<std::string>& names,
                 const std::filesystem::path&);

/// The rows of the first layer's weight with the largest weights, as square pictures.
void draw_filters(const bobbin::Tensor& weight, const std::filesystem::path&);

/// Counts, true classes in rows and predicted ones in columns.
void draw_confusion(std::span<const std::int64_t> counts, const std::vector<std::string>& names,
                    const std::filesystem::path&);

/// The same as text.
void print_confusion(std::span<const std::int64_t> counts, const std::vector<std::string>& names);
