// Models of the MNIST example as safetensors files: parameters by name, and the sizes of the hidden layers.
#pragma once
#include <bobbin/safetensors.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

using Parameters = std::map<std::string, bobbin::Tensor>;

/// The sizes of the hidden layers that a file names, or `otherwise`. Throws FormatError.
std::vector<std::int64_t> hidden_sizes(const bobbin::TensorFile&, const std::vector<std::int64_t>& otherwise);

/// Fills the parameters from a file that must hold just them. Throws FormatError, which lists all that
/// differs; then nothing has changed.
void load_parameters(const Parameters&, const bobbin::TensorFile&, const std::filesystem::path&);
