// Optimizer, the base class: checks of the parameters, steps, state.
#include <bobbin/optim.h>
#include <bobbin/state.h>
#include <bobbin/tape.h>
#include <fmt/format.h>

#include <set>

#include "core/cuda/replay_arg.h"

namespace bobbin::optim {

Optimizer::Optimizer(Parameters all, double rate, double weight_decay) : lr(rate) {
  std::set<const void*> seen;
  for (auto& group : all.groups) {
    for (auto& p : group.parameters) {
      if (!p.requires_grad() || !p.is_leaf())
        fail<GradError>("optimizer: a parameter ", p.spec(), " is no leaf that requires a gradient");
      if (p.dtype() != DType::f32 && p.dtype() != DType::f64)
        fail<DTypeError>("optimizer: parameters are f32 or f64; got ", p.spec());
      if (!p.is_contiguous()) fail<ShapeError>("optimizer: a parameter ", p.spec(), " is a strided view");
      if (p.numel() > 0 && !seen.insert(p.raw()).second)
        fail<ValueError>("optimizer: a parameter ", p.spec(), " is there twice");
      parameters_.push_back(p);
      group_of_.push_back(groups_.size());
    }
    groups_.push_back({group.lr_scale, group.weight_decay.value_or(weight_decay)});
  }
}

void Optimizer::begin_step() {
  if (schedule) lr = schedule(steps_);
  ++steps_;
}

void Optimizer::step() {
  const NoGrad quiet;
  std::vector<Part> parts;  // complete and row-major before the first edit: copies may throw
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (const Tensor g = parameters_[i].grad())
      parts.push_back({i, group_of_[i], parameters_[i], g.is_contiguous() ? g : empty_like(g).copy_(g)});
  begin_step();
  cuda::on_replay([this] { begin_step(); });
  update(parts);
}

void Optimizer::zero_grad() {
  for (auto& p : parameters_) p.set_grad({});
}

std::vector<Tensor>& Optimizer::keep(std::string name, double value) {
  auto& state = states_[std::move(name)];
  for (auto& p : parameters_) state.push_back(full(p.shape(), value, p.dtype(), p.device()));
  return state;
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::map<std::string, Tensor> out{{"step", tensor(static_cast<double>(steps_), DType::i64)},
                                    {"lr", tensor(lr, DType::f64)}};
  for (auto& [name, tensors] : states_)
    for (std::size_t i = 0; i < tensors.size(); ++i) out.emplace(fmt::format("{}.{}", name, i), tensors[i]);
  return out;
}

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& from) {
  const auto own = state_dict();
  load_state("optimizer", own, from);
  steps_ = from.at("step").item<std::int64_t>();
  lr = from.at("lr").item();
}

}  // namespace bobbin::optim
