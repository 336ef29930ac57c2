// Optimizers. A step reads each parameter's .grad() and edits the parameter in place, outside the tape.
// Parameters are f32 or f64, on any device; one without a gradient is left alone. A step that throws has
// changed nothing. On a GPU a step only enqueues, all parameters in one launch where they fit, and one that
// is captured (capture.h) follows `lr` and its own count of steps; the optimizer must then live, at its
// place, as long as the captured step. Gradients accumulate until zero_grad(): several backward() a step make
// a larger batch.
#pragma once
#include <bobbin/tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// Optimizers, and learning rates as functions of the step.
namespace bobbin::optim {

/// Parameters of an optimizer that have their own learning rate and weight decay.
struct ParameterGroup {
  std::vector<Tensor> parameters;           ///< f32 or f64 leaves that require gradients
  double lr_scale = 1;                      ///< times the optimizer's lr
  std::optional<double> weight_decay = {};  ///< instead of the optimizer's
};
/// What an optimizer trains: tensors, or groups of them.
struct Parameters {
  std::vector<ParameterGroup> groups;  ///< in the order in which they were given
  /// One group of these.
  Parameters(std::initializer_list<Tensor> p) : groups{{std::vector<Tensor>(p)}} {}
  /// One group of these.
  Parameters(std::vector<Tensor> p) : groups{{std::move(p)}} {}
  /// These groups.
  Parameters(std::vector<ParameterGroup> g) : groups(std::move(g)) {}
};

/// What optimizers have in common: parameters, a learning rate, steps, and state.
class Optimizer {
 public:
  /// Throws GradError for a parameter that is no leaf or requires no gradient, DTypeError for other dtypes,
  /// ShapeError for a strided view, ValueError for one that is there twice.
  Optimizer(Parameters, double lr, double weight_decay);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  /// One step of every parameter that has a gradient.
  void step();
  /// Drops the gradients, so that the next backward starts afresh.
  void zero_grad();
  /// All parameters, group by group.
  const std::vector<Tensor>& parameters() const { return parameters_; }

  double lr;  ///< may be changed between steps
  /// If set, gives the rate of each step: lr = schedule(n) before step n, counted from 0. Steps that are
  /// captured together each get their own.
  std::function<double(std::int64_t)> schedule;

  /// All state of the optimizer: "step", "lr", and for parameter i "NAME.i", by PyTorch's
  /// names ("exp_avg.0"). The tensors are the optimizer's own.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies them into the optimizer's. Throws FormatError that lists all missing, extra and wrongly shaped
  /// ones, and changes nothing then.
  void load_state_dict(const std::map<std::string, Tensor>&);

  /// A parameter that a step edits, its place among all, its group, and its gradient; both row-major.
  struct Part {
    std::size_t index;  ///< its place among all parameters
    std::size_t group;  ///< the place of its group
    Tensor parameter;   ///< edited in place
    Tensor grad;        ///< its gradient
  };

 protected:
  /// The parameters' new elements, written in place.
  virtual void update(std::span<const Part>) = 0;
  /// Another tensor a parameter that steps keep, filled with `value`; `name` as in state_dict().
  std::vector<Tensor>& keep(std::string name, double value = 0);

  std::int64_t steps() const { return steps_; }  ///< the one that runs included
  /// The learning rate of a group now.
  double rate(std::size_t group) const { return lr * groups_[group].lr_scale; }
  /// The weight decay of a group.
  double decay(std::size_t group) const { return groups_[group].weight_decay; }

 private:
  struct Group {
    double lr_scale, weight_decay;
  };
  void begin_step();  // before the rule of any step is worked out, a replayed one's too
  std::vector<Tensor> parameters_;
  std::vector<std::size_t> group_of_;
  std::vector<Group> groups_;
  std::map<std::string, std::vector<Tensor>> states_;
  std::int64_t steps_ = 0;
};

/// Settings of Sgd.
struct SgdOptions {
  double lr = 1e-2;         ///< learning rate
  double momentum = 0;      ///< share of the m before
  double weight_decay = 0;  ///< share of p added to the gradient
  bool nesterov = false;    ///< Nesterov's momentum
};
/// g += weight_decay p;  m = momentum m + g;  p -= lr (nesterov ? g + momentum m : m).
class Sgd final : public Optimizer {
 public:
  /// Throws as Optimizer does.
  Sgd(Parameters, const SgdOptions& = {});

 private:
  void update(std::span<const Part>) override;
  SgdOptions options_;
  std::vector<Tensor>* momentum_ = nullptr;
};

/// Settings of Adam.
struct AdamOptions {
  double lr = 1e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the gradient's average
  double beta2 = 0.999;     ///< decay of its square's average
  double eps = 1e-8;        ///< added to the root
  double weight_decay = 0;  ///< share of the parameter added to the gradient
};
/// Adam (Kingma and Ba, arXiv:1412.6980); weight decay adds to the gradient.
class Adam : public Optimizer {
 public:
  /// Throws as Optimizer does.
  Adam(Parameters, const AdamOptions& = {});

 protected:
  /// For AdamW: `decoupled` weight decay shrinks the parameters themselves.
  Adam(Parameters, const AdamOptions&, bool decoupled);

 private:
  void update(std::span<const Part>) override;
  AdamOptions options_;
  bool decoupled_;
  std::vector<Tensor>&mean_, &square_;
};

/// Settings of AdamW.
struct AdamWOptions {
  double lr = 1e-3;            ///< learning rate
  double beta1 = 0.9;          ///< decay of the gradient's average
  double beta2 = 0.999;        ///< decay of its square's average
  double eps = 1e-8;           ///< added to the root
  double weight_decay = 1e-2;  ///< times lr, what the parameter loses of itself a step
};
/// Adam whose weight decay shrinks the parameters themselves (Loshchilov and Hutter, arXiv:1711.05101).
class AdamW final : public Adam {
 public:
  /// Throws as Optimizer does.
  AdamW(Parameters, const AdamWOptions& = {});
};

/// Settings of RmsProp.
struct RmsPropOptions {
  double lr = 1e-2;         ///< learning rate
  double alpha = 0.99;      ///< decay of the squared gradient's average
  double eps = 1e-8;        ///< added to the root
  double weight_decay = 0;  ///< share of the parameter added to the gradient
  double momentum = 0;      ///< share of the m before
};
/// v = alpha v + (1 - alpha) g^2;  m = momentum m + g / (sqrt(v) + eps);  p -= lr m (Tieleman and Hinton's
/// Coursera lecture 6.5, 2012).
class RmsProp final : public Optimizer {
 public:
  /// Throws as Optimizer does.
  RmsProp(Parameters, const RmsPropOptions& = {});

 private:
  void update(std::span<const Part>) override;
  RmsPropOptions options_;
  std::vector<Tensor>& square_;
  std::vector<Tensor>* momentum_ = nullptr;
};

/// Settings of Adagrad.
struct AdagradOptions {
  double lr = 1e-2;                      ///< learning rate
  double lr_decay = 0;                   ///< how fast it falls
  double weight_decay = 0;               ///< share of the parameter added to the gradient
  double initial_accumulator_value = 0;  ///< s before the first step
  double eps = 1e-10;                    ///< added to the root
};
/// s += g^2;  p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps) (Duchi, Hazan and Singer, JMLR 12,
/// 2011).
class Adagrad final : public Optimizer {
 public:
  /// Throws as Optimizer does.
  Adagrad(Parameters, const AdagradOptions& = {});

 private:
  void update(std::span<const Part>) override;
  AdagradOptions options_;
  std::vector<Tensor>& sum_;
};

/// Settings of Lion.
struct LionOptions {
  double lr = 1e-4;         ///< learning rate
  double beta1 = 0.9;       ///< the average's share in a step
  double beta2 = 0.99;      ///< decay of the average
  double weight_decay = 0;  ///< times lr, what the parameter loses of itself a step
};
/// p = (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g (Chen et al.,
/// arXiv:2302.06675).
class Lion final : public Optimizer {
 public:
  /// Throws as Optimizer does.
  Lion(Parameters, const LionOptions& = {});

 private:
  void update(std::span<const Part>) override;
  LionOptions options_;
  std::vector<Tensor>& mean_;
};

/// Settings of Muon.
struct MuonOptions {
  double lr = 1e-3;           ///< learning rate
  double weight_decay = 0.1;  ///< times lr, what the parameter loses of itself a step
  double momentum = 0.95;     ///< decay of the gradient's average
  bool nesterov = true;       ///< Nesterov's momentum
  int ns_steps = 5;           ///< of Newton and Schulz's iteration
};
/// Momentum made orthogonal by Newton and Schulz's iteration: p = (1 - lr weight_decay) p - lr sqrt(max(1,
/// rows / columns)) O (Jordan et al., Muon, 2024, with its coefficients). For the matrices between layers;
/// others throw ShapeError and belong to another optimizer.
class Muon final : public Optimizer {
 public:
  /// Throws as Optimizer does, and ShapeError for a parameter that is no matrix.
  Muon(Parameters, const MuonOptions& = {});

 private:
  void update(std::span<const Part>) override;
  MuonOptions options_;
  std::vector<Tensor>& momentum_;
};

/// The norm of all gradients together, an f64 scalar on the first one's device; where it exceeds max_norm,
/// they are scaled down to it, in place. Waits for no GPU. Throws ValueError unless max_norm > 0, or where
/// there is no gradient.
Tensor clip_grad_norm(std::span<const Tensor> parameters, double max_norm);
/// Clamps every element of the gradients to [-limit, limit], in place. Throws ValueError unless limit > 0.
void clip_grad_value(std::span<const Tensor> parameters, double limit);

/// An exponential moving average of parameters: average = decay average + (1 - decay) parameter.
class Ema {
 public:
  /// Begins as a copy. Throws ValueError unless 0 <= decay < 1.
  Ema(std::vector<Tensor> parameters, double decay = 0.999);
  /// Moves the averages towards the parameters: after each step.
  void update();
  /// Exchanges the parameters' elements with the averages': to test with them, and back.
  void swap();
  /// One a parameter, in their order.
  const std::vector<Tensor>& averages() const { return averages_; }

 private:
  std::vector<Tensor> parameters_, averages_;
  double decay_;
};

/// Keeps gradients of f16 products away from 0: backward(scaler.scale(loss)); scaler.step(optimizer).
class GradScaler {
 public:
  double scale_factor =
      65536;            ///< halved where a gradient overflowed, doubled after `patience` steps without
  int patience = 2000;  ///< steps without overflow until the scale is doubled
  /// loss times scale_factor.
  Tensor scale(const Tensor& loss) const;
  /// Divides the gradients by the scale and steps; or leaves the parameters as they are where a gradient is
  /// not finite. Waits for the GPU. Says whether it stepped.
  bool step(Optimizer&);

 private:
  int good_ = 0;
};

}  // namespace bobbin::optim
