// Checkpoints: one safetensors file of the model, the optimizer and the random numbers.
#include <bobbin/random.h>
#include <bobbin/safetensors.h>
#include <bobbin/saving.h>

#include <vector>

namespace bobbin {
namespace {

void add(TensorFile& file, const std::string& prefix, const StateDict& state) {
  for (auto& [name, t] : state) file.tensors.emplace(prefix + name, t);
}

StateDict part(const TensorFile& file, const std::string& prefix) {
  StateDict out;
  for (auto& [name, t] : file.tensors)
    if (name.starts_with(prefix)) out.emplace(name.substr(prefix.size()), t);
  return out;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const StateDict& model,
                     const optim::Optimizer& optimizer, const std::map<std::string, std::string>& notes) {
  TensorFile file{{}, notes};
  add(file, "model.", model);
  add(file, "optimizer.", optimizer.state_dict());
  const Generator& g = default_generator();
  file.tensors["generator"] =
      from_range(std::vector{static_cast<std::int64_t>(g.seed), static_cast<std::int64_t>(g.draws)});
  save_safetensors(path, file);
}

std::map<std::string, std::string> load_checkpoint(const std::filesystem::path& path, const StateDict& model,
                                                   optim::Optimizer& optimizer) {
  const TensorFile file = load_safetensors(path);
  const auto generator = file.tensors.find("generator");
  if (generator == file.tensors.end() || generator->second.shape() != Shape{2} ||
      generator->second.dtype() != DType::i64)
    fail<FormatError>("load_checkpoint: ", path.string(), " is no checkpoint: it has no generator i64[2]");
  // Model and optimizer are compared with the file before either is changed.
  const std::string what = "load_checkpoint: " + path.string();
  StateDict own{*generator};
  for (auto& [name, t] : model) own.emplace("model." + name, t);
  for (auto& [name, t] : optimizer.state_dict()) own.emplace("optimizer." + name, t);
  check_state(what, own, file.tensors);
  load_state(what, model, part(file, "model."));
  optimizer.load_state_dict(part(file, "optimizer."));
  const auto state = generator->second.to_vector<std::int64_t>();
  default_generator() = {static_cast<std::uint64_t>(state[0]), static_cast<std::uint64_t>(state[1])};
  return file.metadata;
}

}  // namespace bobbin
