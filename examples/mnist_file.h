// Files of the MNIST example. Models are safetensors files: parameters by name, and the sizes of the hidden
// layers.
#pragma once
#include <bobbin/safetensors.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

using Parameters = std::map<std::string, bobbin::Tensor>;

/// The sizes of a perceptron's hidden layers in the metadata of a file, or `otherwise` if it has none. Throws
/// FormatError, also for sizes that need more parameters than the file has.
std::vector<std::int64_t> hidden_sizes(const bobbin::TensorFile&, const std::vector<std::int64_t>& otherwise);

/// Copies the parameters from a file that must contain exactly these. If it does not, throws FormatError that
/// lists all differences, and changes nothing.
void load_parameters(const Parameters&, const bobbin::TensorFile&, const std::filesystem::path&);

/// Makes the directory for pictures. Throws IoError before training instead of after it, if what it will
/// write to cannot be written; `save` may be empty.
void check_outputs(const std::filesystem::path& out, const std::filesystem::path& save);
