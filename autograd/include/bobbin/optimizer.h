// The base of all optimizers: their parameters, a step, their state. optim.h has the optimizers.
#pragma once
#include <bobbin/tensor.h>

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// Optimizers, and learning rates as functions of the step.
namespace bobbin::optim {

/// Parameters of an optimizer with a separate learning rate and weight decay.
struct ParameterGroup {
  std::vector<Tensor> parameters;           ///< f32 or f64 leaves that require gradients
  double lr_scale = 1;                      ///< the factor on the optimizer's lr
  std::optional<double> weight_decay = {};  ///< replaces the optimizer's
};
/// The parameters that an optimizer trains: tensors, or groups of tensors.
struct Parameters {
  std::vector<ParameterGroup> groups;  ///< in the order in which they were given
  /// One group of these tensors.
  Parameters(std::initializer_list<Tensor> p) : groups{{std::vector<Tensor>(p)}} {}
  /// One group of these tensors.
  Parameters(std::vector<Tensor> p) : groups{{std::move(p)}} {}
  /// These groups.
  Parameters(std::vector<ParameterGroup> g) : groups(std::move(g)) {}
};

/// The base of optimizers: parameters, a learning rate, steps, and state.
class Optimizer {
 public:
  /// Throws GradError for a parameter that is no leaf or requires no gradient, DTypeError unless it is f32 or
  /// f64, ShapeError for a strided view, ValueError for a parameter that is given twice or shares elements
  /// with another, and for options outside their domain.
  Optimizer(const Parameters&, double lr, double weight_decay);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  /// One update of every parameter that has a gradient. Throws ValueError if `lr` is negative or not finite.
  void step();
  /// Removes the gradients, so that the next backward starts from 0. Skips parameters that were frozen
  /// (set_requires_grad(false)) since.
  void zero_grad();
  /// All parameters, group by group.
  const std::vector<Tensor>& parameters() const { return parameters_; }

  double lr;  ///< may be changed between steps
  /// If set, gives the rate of each step: lr = schedule(n) before step n, counted from 0. Each step of a
  /// captured function that has several gets its rate.
  std::function<double(std::int64_t)> schedule;
  /// If not infinite, a step takes the gradients scaled down to this norm of all of them together, with the
  /// numbers of clip_grad_norm, but without a pass over memory to write them: .grad() stays as it is. A
  /// captured step keeps the max_norm that it was captured with. step() throws ValueError unless it is above
  /// 0.
  double max_norm = std::numeric_limits<double>::infinity();

  /// All state of the optimizer: "step", "lr", and for parameter i "NAME.i" with PyTorch's names
  /// ("exp_avg.0", and "step.0" where the update depends on the count). The tensors of the averages share
  /// their elements with the optimizer.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies these elements into the optimizer's tensors. If some are missing, extra or of another shape,
  /// throws FormatError that lists them. If it throws, it has changed nothing. A state of version 0.1, which
  /// has one count for all parameters, is accepted.
  void load_state_dict(const std::map<std::string, Tensor>&);
  /// The two halves of load_state_dict, for load_checkpoint: the checks, which throw, and the function that
  /// they return, which copies and does not throw.
  std::function<void()> loading(const std::map<std::string, Tensor>&);
  /// A state of version 0.1 as this version has it.
  std::map<std::string, Tensor> completed(std::map<std::string, Tensor>) const;

  /// A parameter that a step edits, and its gradient; both are row-major.
  struct Part {
    std::size_t index;       ///< its number among all parameters
    std::size_t group;       ///< the number of its group
    Tensor parameter;        ///< edited in place
    Tensor grad;             ///< its gradient; undefined for rules that read none
    std::int64_t steps = 0;  ///< its steps before this one; 0 if the update does not depend on them
    Tensor factor = {};      ///< f64 scalar on its device that scales its gradient; undefined for 1
  };

 protected:
  /// Writes the new elements of the parameters in place.
  virtual void update(std::span<const Part>) = 0;
  /// Adds one tensor of state per parameter, filled with `value`; `name` as in state_dict().
  std::vector<Tensor>& keep(std::string name, double value = 0);
  /// Lets each parameter have a step count, which starts when it gets its first gradient.
  void count_steps() { counts_.resize(parameters_.size()); }

  /// The number of steps of a parameter, including the one that runs now; 0 without count_steps().
  std::int64_t steps(std::size_t parameter) const { return counts_.empty() ? 0 : counts_[parameter]; }
  /// The learning rate of a group now.
  double rate(std::size_t group) const { return lr * groups_[group].lr_scale; }
  /// The weight decay of a group.
  double decay(std::size_t group) const { return groups_[group].weight_decay; }

 private:
  struct Group {
    double lr_scale, weight_decay;
  };
  // The parameters that take part in a step, with their counts before it; empty without count_steps().
  using Counts = std::vector<std::pair<std::size_t, std::int64_t>>;
  void begin_step(const Counts&);    // runs before each step, also before each replay of a captured step
  void clip(std::span<Part>) const;  // gives the parts their factor
  void undo_step(const Counts&, double lr);  // takes begin_step back
  std::vector<Tensor> parameters_;
  std::vector<std::size_t> group_of_;
  std::vector<Group> groups_;
  std::map<std::string, std::vector<Tensor>> states_;
  std::int64_t steps_ = 0;            // of the optimizer
  std::vector<std::int64_t> counts_;  // of each parameter
};

}  // namespace bobbin::optim
