// Loads the parameters of models of the MNIST example, and looks where its files can be written.
#include "mnist_file.h"

#include <bobbin/tape.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "mnist_data.h"

using namespace bobbin;
namespace fs = std::filesystem;

std::vector<std::int64_t> hidden_sizes(const TensorFile& file, const std::vector<std::int64_t>& otherwise) {
  const auto found = file.metadata.find("hidden");
  if (found == file.metadata.end()) return otherwise;
  std::vector<std::int64_t> sizes;
  std::istringstream in(found->second);
  for (std::string part; std::getline(in, part, ',');) sizes.push_back(std::atoll(part.c_str()));
  if (sizes.empty() || std::ranges::any_of(sizes, [](auto n) { return n < 1 || n > 65536; }))
    fail<FormatError>("the loaded file names bad sizes of hidden layers: '", found->second, "'");
  // A model is not made larger than the file, whatever its text says.
  std::int64_t needed = 0, before = pixels, present = 0;
  for (const std::int64_t n : sizes) needed += (std::exchange(before, n) + 1) * n;
  for (auto& [name, t] : file.tensors) present += t.numel();
  if (needed > present)
    fail<FormatError>("the loaded file does not fit: its hidden layers of sizes '", found->second, "' have ",
                      needed, " parameters, the file has ", present, " numbers");
  return sizes;
}

void load_parameters(const Parameters& parameters, const TensorFile& file,
                     const std::filesystem::path& path) {
  std::vector<std::string> wrong;
  for (auto& [name, p] : parameters)
    if (const auto found = file.tensors.find(name); found == file.tensors.end()) {
      wrong.push_back(name + " is missing");
    } else if (const Tensor& t = found->second; t.shape() != p.shape() || t.dtype() != p.dtype()) {
      std::ostringstream differs;
      differs << name << " is " << t.spec() << ", not " << p.dtype() << p.shape();
      wrong.push_back(differs.str());
    }
  for (auto& [name, t] : file.tensors)
    if (!parameters.contains(name)) wrong.push_back(name + " is not in the model");
  if (!wrong.empty())
    fail<FormatError>(path.string(), " does not fit: ", fmt::format("{}", fmt::join(wrong, "; ")));
  const NoGrad quiet;
  for (auto [name, p] : parameters) p.copy_(file.tensors.at(name));
}

void check_outputs(const fs::path& out, const fs::path& save) {
  std::error_code e;
  fs::create_directories(out, e);
  const auto check = [&](const char* option, const fs::path& path, const fs::path& dir) {
    if (!fs::is_directory(dir, e))
      fail<IoError>(option, " ", path.string(), " cannot be written: ", dir.string(), " is no directory");
    if (access(dir.c_str(), W_OK | X_OK) != 0)
      fail<IoError>(option, " ", path.string(), " cannot be written: ", std::strerror(errno));
  };
  check("--out", out, out);
  if (save.empty()) return;
  check("--save", save, save.has_parent_path() ? save.parent_path() : ".");
  if (fs::exists(save, e) && !fs::is_regular_file(save, e))
    fail<IoError>("--save ", save.string(), " is there and is no file");
}
