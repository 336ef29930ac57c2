// Checkpoints: one safetensors file of the model, the optimizer, what goes with them, and the random numbers.
#include <bobbin/random.h>
#include <bobbin/safetensors.h>
#include <bobbin/saving.h>

#include <cmath>
#include <limits>
#include <vector>

namespace bobbin {
namespace {

void add(StateDict& all, const std::string& prefix, const StateDict& state) {
  for (auto& [name, t] : state) all.emplace(prefix + name, t);
}

StateDict part(const StateDict& all, const std::string& prefix) {
  StateDict out;
  for (auto& [name, t] : all)
    if (name.starts_with(prefix)) out.emplace(name.substr(prefix.size()), t);
  return out;
}

StateDict integer(const std::string& name, std::int64_t n) {
  return {{name, from_range(std::vector{n}, Shape{})}};
}

StateDict state(const Generator& g) {
  return {{"generator",
           from_range(std::vector{static_cast<std::int64_t>(g.seed), static_cast<std::int64_t>(g.draws)})}};
}

StateDict state(const optim::Plateau& p) {
  StateDict out = integer("bad", p.bad);
  out.emplace("rate", tensor(p.rate, DType::f64));
  out.emplace("best", tensor(p.best, DType::f64));
  return out;
}

optim::Plateau loaded(optim::Plateau p, const StateDict& from) {
  p.rate = from.at("rate").item();
  p.best = from.at("best").item();
  const auto bad = from.at("bad").item<std::int64_t>();
  if (!(p.rate >= 0 && std::isfinite(p.rate)) || std::isnan(p.best) || bad < 0 ||
      bad > std::numeric_limits<int>::max())
    fail<FormatError>("load_checkpoint: the state of the Plateau does not fit: rate ", p.rate, ", best ",
                      p.best, ", bad ", bad);
  p.bad = static_cast<int>(bad);
  return p;
}

StateDict state(const StateDict& model, const optim::Optimizer& optimizer, const CheckpointParts& parts) {
  StateDict all = state(default_generator());
  add(all, "model.", model);
  add(all, "optimizer.", optimizer.state_dict());
  if (parts.scaler) add(all, "scaler.", parts.scaler->state_dict());
  if (parts.ema) add(all, "ema.", parts.ema->state_dict());
  if (parts.plateau) add(all, "plateau.", state(*parts.plateau));
  return all;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const StateDict& model,
                     const optim::Optimizer& optimizer, const std::map<std::string, std::string>& notes,
                     const CheckpointParts& parts) {
  save_safetensors(path, {state(model, optimizer, parts), notes});
}

std::map<std::string, std::string> load_checkpoint(const std::filesystem::path& path, const StateDict& model,
                                                   optim::Optimizer& optimizer,
                                                   const CheckpointParts& parts) {
  TensorFile file = load_safetensors(path);
  if (!file.unreadable.empty()) throw FormatError(file.unreadable.begin()->second);
  StateDict& all = file.tensors;
  const auto random = all.find("generator");
  if (random == all.end() || random->second.shape() != Shape{2} || random->second.dtype() != DType::i64)
    fail<FormatError>("load_checkpoint: ", path.string(), " is no checkpoint: it has no generator i64[2]");
  add(all, "optimizer.", optimizer.completed(part(all, "optimizer.")));
  // Everything is compared with the file and converted before anything is changed.
  const std::string what = "load_checkpoint: " + path.string();
  check_state(what, state(model, optimizer, parts), all);
  const auto load_model = detail::loading(what, model, part(all, "model."));
  const auto load_optimizer = optimizer.loading(part(all, "optimizer."));
  const auto load_ema = parts.ema ? detail::loading(what, parts.ema->state_dict(), part(all, "ema.")) : [] {};
  optim::GradScaler scaler;
  if (parts.scaler) (scaler = *parts.scaler).load_state_dict(part(all, "scaler."));
  optim::Plateau plateau{};
  if (parts.plateau) plateau = loaded(*parts.plateau, part(all, "plateau."));
  const auto draws = random->second.to_vector<std::int64_t>();

  load_model();
  load_optimizer();
  load_ema();
  if (parts.scaler) *parts.scaler = scaler;
  if (parts.plateau) *parts.plateau = plateau;
  default_generator() = {static_cast<std::uint64_t>(draws[0]), static_cast<std::uint64_t>(draws[1])};
  return std::move(file.metadata);
}

}  // namespace bobbin
