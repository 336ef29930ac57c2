// Optimizer, the base class: checks of the parameters, steps, state.
#include <bobbin/elementwise.h>
#include <bobbin/state.h>
#include <bobbin/tape.h>
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "autograd/optim/apply.h"
#include "autograd/optim/gradients.h"
#include "core/cuda/replay_arg.h"

namespace bobbin::optim {

void require_editable(std::string_view what, std::span<const Tensor> tensors) {
  std::map<const char*, const char*> ranges;  // the end of the elements of each tensor, by their begin
  for (auto& t : tensors) {
    if (t.dtype() != DType::f32 && t.dtype() != DType::f64)
      fail<DTypeError>(what, ": parameters are f32 or f64; got ", t.spec());
    if (!t.is_contiguous()) fail<ShapeError>(what, ": a parameter ", t.spec(), " is a strided view");
    if (t.numel() == 0) continue;
    const char* const begin = t.raw<char>();
    const char* const end = begin + t.numel() * size_of(t.dtype());
    const auto after = ranges.upper_bound(begin);
    if (after != ranges.begin() && std::prev(after)->first == begin && std::prev(after)->second == end)
      fail<ValueError>(what, ": a parameter ", t.spec(), " is there twice");
    if ((after != ranges.end() && after->first < end) ||
        (after != ranges.begin() && std::prev(after)->second > begin))
      fail<ValueError>(what, ": a parameter ", t.spec(), " shares elements with another");
    ranges.emplace(begin, end);
  }
}

void require_not_negative(std::string_view what, std::string_view option, double x) {
  if (!(x >= 0 && std::isfinite(x))) fail<ValueError>(what, ": expected a finite ", option, " >= 0; got ", x);
}

void require_fraction(std::string_view what, std::string_view option, double x) {
  if (!(x >= 0 && x < 1)) fail<ValueError>(what, ": expected 0 <= ", option, " < 1; got ", x);
}

Optimizer::Optimizer(const Parameters& all, double rate, double weight_decay) : lr(rate) {
  require_not_negative("optimizer", "lr", rate);
  require_not_negative("optimizer", "weight_decay", weight_decay);
  for (auto& group : all.groups) {
    for (auto& p : group.parameters) {
      if (!p.requires_grad() || !p.is_leaf())
        fail<GradError>("optimizer: a parameter ", p.spec(), " is no leaf that requires a gradient");
      parameters_.push_back(p);
      group_of_.push_back(groups_.size());
    }
    groups_.push_back({group.lr_scale, group.weight_decay.value_or(weight_decay)});
    require_not_negative("optimizer", "lr_scale", groups_.back().lr_scale);
    require_not_negative("optimizer", "weight_decay", groups_.back().weight_decay);
  }
  require_editable("optimizer", parameters_);
}

void Optimizer::begin_step(const Counts& participants) {
  // Parameters that had the same count when the step was captured are updated by one kernel with one count.
  for (std::size_t k = 1; k < participants.size(); ++k) {
    const auto& [a, count_a] = participants[k - 1];
    const auto& [b, count_b] = participants[k];
    if (count_a == count_b && counts_[a] != counts_[b])
      fail<Error>("optimizer: parameters ", a, " and ", b,
                  " had the same number of steps when this step was captured, and now have ", counts_[a],
                  " and ", counts_[b], ": capture the step again");
  }
  const double rate = schedule ? schedule(steps_) : lr;
  require_not_negative("optimizer", "lr", rate);
  lr = rate;
  ++steps_;
  for (auto& [i, count] : participants) ++counts_[i];
}

void Optimizer::step() {
  const NoGrad quiet;
  std::vector<Part> parts;  // complete and row-major before the first edit: copies may throw
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (const Tensor& p = parameters_[i]; const Tensor g = p.grad()) {
      if (g.spec() != p.spec())
        fail<ShapeError>("optimizer: a gradient of ", p.spec(), " cannot be ", g.spec());
      parts.push_back({i, group_of_[i], p, g.is_contiguous() ? g : empty_like(g).copy_(g), steps(i)});
    }
  clip(parts);
  Counts participants;
  if (!counts_.empty()) {
    if (!std::ranges::is_sorted(parts, {}, &Part::steps))
      std::ranges::stable_sort(parts, {}, &Part::steps);  // fewer, larger updates
    for (auto& part : parts) participants.emplace_back(part.index, part.steps);
  }

  const double rate = lr;
  begin_step(participants);
  try {
    const bool captured = cuda::capturing();
    if (captured) cuda::on_replay([this, participants] { begin_step(participants); });
    update(parts);
    if (captured) cuda::on_failed_capture([this, participants, rate] { undo_step(participants, rate); });
  } catch (...) {
    undo_step(participants, rate);
    throw;
  }
}

void Optimizer::clip(std::span<Part> parts) const {
  if (!(max_norm > 0)) fail<ValueError>("optimizer: expected max_norm > 0; got ", max_norm);
  if (std::isinf(max_norm) || parts.empty()) return;
  std::vector<Gradient> gradients;
  for (auto& part : parts) gradients.push_back({part.parameter, part.grad});
  const Tensor shrink = shrink_to(max_norm, total_norm(gradients, 2));
  if (shrink.device().is_cpu() && shrink.item() == 1) return;
  for (auto& part : parts) part.factor = to(shrink, part.parameter.device());
}

void Optimizer::undo_step(const Counts& participants, double rate) {
  lr = rate;
  --steps_;
  for (auto& [i, count] : participants) --counts_[i];
}

void Optimizer::zero_grad() {
  for (auto& p : parameters_)
    if (p.requires_grad()) p.set_grad({});
}

std::vector<Tensor>& Optimizer::keep(std::string name, double value) {
  auto& state = states_[std::move(name)];
  for (auto& p : parameters_) state.push_back(full(p.shape(), value, p.dtype(), p.device()));
  return state;
}

StateDict Optimizer::state_dict() const {
  const auto count = [](std::int64_t n) { return from_range(std::vector{n}, Shape{}); };
  StateDict out{{"step", count(steps_)}, {"lr", tensor(lr, DType::f64)}};
  for (std::size_t i = 0; i < counts_.size(); ++i) out.emplace(fmt::format("step.{}", i), count(counts_[i]));
  for (auto& [name, tensors] : states_)
    for (std::size_t i = 0; i < tensors.size(); ++i) out.emplace(fmt::format("{}.{}", name, i), tensors[i]);
  return out;
}

StateDict Optimizer::completed(StateDict state) const {
  const auto all = state.find("step");
  if (all == state.end() || state.contains("step.0")) return state;
  const Tensor step = all->second;
  for (std::size_t i = 0; i < counts_.size(); ++i) state.emplace(fmt::format("step.{}", i), step);
  return state;
}

std::function<void()> Optimizer::loading(const StateDict& given) {
  const StateDict from = completed(given);
  auto copies = detail::loading("optimizer", state_dict(), from);
  const auto count = [&](const std::string& name) {
    const auto n = from.at(name).item<std::int64_t>();
    if (n < 0) fail<FormatError>("optimizer: the state does not fit: '", name, "' is ", n);
    return n;
  };
  const std::int64_t steps = count("step");
  const double rate = from.at("lr").item();
  if (!(rate >= 0 && std::isfinite(rate)))
    fail<FormatError>("optimizer: the state does not fit: 'lr' is ", rate);
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < counts_.size(); ++i) counts.push_back(count(fmt::format("step.{}", i)));
  return [this, copies = std::move(copies), steps, rate, counts = std::move(counts)]() mutable {
    copies();
    steps_ = steps;
    lr = rate;
    counts_.swap(counts);
  };
}

void Optimizer::load_state_dict(const StateDict& from) { loading(from)(); }

}  // namespace bobbin::optim
