#include <bobbin/ops.h>
#include <bobbin/random.h>
#include <bobbin/safetensors.h>
#include <bobbin/saving.h>
#include <bobbin/tape.h>

#include <sstream>

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

void check_state(std::string_view what, const StateDict& own, const StateDict& from) {
  std::ostringstream wrong;
  const auto sep = [&]() -> std::ostream& { return wrong << (wrong.tellp() > 0 ? "; " : ""); };
  for (auto& [name, t] : own) {
    const auto it = from.find(name);
    if (it == from.end())
      sep() << "'" << name << "' is missing";
    else if (it->second.shape() != t.shape() || it->second.dtype() != t.dtype())
      sep() << "'" << name << "' is " << it->second.spec() << ", not " << t.spec();
  }
  for (auto& [name, t] : from)
    if (!own.contains(name)) sep() << "'" << name << "' is unknown";
  if (wrong.tellp() > 0) fail<FormatError>(what, ": the state does not fit: ", wrong.str());
}

void load_state(std::string_view what, const StateDict& own, const StateDict& from) {
  check_state(what, own, from);
  const NoGrad quiet;
  std::vector<std::pair<Tensor, Tensor>> copies;  // what may fail comes first
  for (auto& [name, t] : own) copies.emplace_back(t, to(from.at(name), t.device()));
  for (auto& [t, source] : copies) t.copy_(source);
}

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
  // Both are looked at before either is changed.
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
