// The data of the MNIST example: four IDX files per data set, all of one format.
#pragma once
#include <bobbin/tensor.h>

#include <filesystem>
#include <string>
#include <vector>

constexpr std::int64_t side = 28, pixels = side * side, classes = 10;

/// The properties of a data set: its classes, and the mean and deviation of its pixels in [0, 1].
struct ImageSet {
  std::string title;
  std::vector<std::string> names;
  float mean, deviation;
  bool symmetric;  ///< whether mirrored images are of the same class

  float background() const { return -mean / deviation; }  ///< a black pixel, normalised
};

/// "mnist" or "fashion".
const ImageSet& dataset(const std::string& name);

struct Examples {
  bobbin::Tensor images, labels;  ///< f32 [n, 784], normalised; i64 [n]
  std::int64_t size() const { return labels.numel(); }
};

/// Reads and checks one part ("train" or "t10k") of a data set, plain or .gz. Throws IoError, FormatError.
Examples read_examples(const std::filesystem::path& dir, const std::string& part, const ImageSet&,
                       bobbin::Device);
