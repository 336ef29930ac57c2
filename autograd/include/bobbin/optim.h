// Optimizers. A step reads each parameter's .grad() and edits the parameter in place, outside the tape.
// Parameters are f32 or f64, on any device; one without a gradient is left alone. A step that throws has
// changed nothing. On a GPU a step only enqueues, all parameters in one launch where they fit, and one that
// is captured (capture.h) follows `lr` and its own count of steps; the optimizer must then live, at its
// place, as long as the captured step. Gradients accumulate until zero_grad(): several backward() a step make
// a larger batch.
#pragma once
#include <bobbin/tensor.h>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bobbin::optim {

/// Parameters that are trained alike, unlike others of the same optimizer.
struct ParameterGroup {
  std::vector<Tensor> parameters;
  double lr_scale = 1;                      ///< times the optimizer's lr
  std::optional<double> weight_decay = {};  ///< instead of the optimizer's
};
/// What an optimizer trains: tensors, or groups of them.
struct Parameters {
  std::vector<ParameterGroup> groups;
  Parameters(std::initializer_list<Tensor> p) : groups{{std::vector<Tensor>(p)}} {}
  Parameters(std::vector<Tensor> p) : groups{{std::move(p)}} {}
  Parameters(std::vector<ParameterGroup> g) : groups(std::move(g)) {}
};

class Optimizer {
 public:
  /// Throws GradError for a parameter that is no leaf or requires no gradient, DTypeError for other dtypes,
  /// ValueError for one that is there twice.
  Optimizer(Parameters, double lr, double weight_decay);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  void step();
  /// Drops the gradients, so that the next backward starts afresh.
  void zero_grad();
  const std::vector<Tensor>& parameters() const { return parameters_; }

  double lr;  ///< may be changed between steps

  /// All that a step depends on besides parameters: "step", "lr", and for parameter i "NAME.i", by PyTorch's
  /// names ("exp_avg.0"). The tensors are the optimizer's own.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies them into the optimizer's. Throws FormatError that lists all missing, extra and wrongly shaped
  /// ones, and changes nothing then.
  void load_state_dict(const std::map<std::string, Tensor>&);

  /// A parameter that a step edits, its place among all, its group, and its gradient; both row-major.
  struct Part {
    std::size_t index, group;
    Tensor parameter, grad;
  };

 protected:
  /// The parameters' new elements, written in place.
  virtual void update(std::span<const Part>) = 0;
  /// Another tensor a parameter that steps keep, filled with `value`; `name` as in state_dict().
  std::vector<Tensor>& keep(std::string name, double value = 0);

  std::int64_t steps() const { return steps_; }  ///< the one that runs included
  double rate(std::size_t group) const { return lr * groups_[group].lr_scale; }
  double decay(std::size_t group) const { return groups_[group].weight_decay; }

 private:
  struct Group {
    double lr_scale, weight_decay;
  };
  std::vector<Tensor> parameters_;
  std::vector<std::size_t> group_of_;
  std::vector<Group> groups_;
  std::map<std::string, std::vector<Tensor>> states_;
  std::int64_t steps_ = 0;
};

struct SgdOptions {
  double lr = 1e-2, momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
/// g += weight_decay p;  m = momentum m + g;  p -= lr (nesterov ? g + momentum m : m).
class Sgd final : public Optimizer {
 public:
  Sgd(Parameters, const SgdOptions& = {});

 private:
  void update(std::span<const Part>) override;
  SgdOptions options_;
  std::vector<Tensor>* momentum_ = nullptr;
};

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
/// Adam (Kingma and Ba, arXiv:1412.6980); weight decay adds to the gradient.
class Adam : public Optimizer {
 public:
  Adam(Parameters, const AdamOptions& = {});

 protected:
  Adam(Parameters, const AdamOptions&, bool decoupled);

 private:
  void update(std::span<const Part>) override;
  AdamOptions options_;
  bool decoupled_;
  std::vector<Tensor>&mean_, &square_;
};

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
};
/// Adam whose weight decay shrinks the parameters themselves (Loshchilov and Hutter, arXiv:1711.05101).
class AdamW final : public Adam {
 public:
  AdamW(Parameters, const AdamWOptions& = {});
};

struct RmsPropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
};
/// v = alpha v + (1 - alpha) g^2;  m = momentum m + g / (sqrt(v) + eps);  p -= lr m (Tieleman and Hinton's
/// Coursera lecture 6.5, 2012).
class RmsProp final : public Optimizer {
 public:
  RmsProp(Parameters, const RmsPropOptions& = {});

 private:
  void update(std::span<const Part>) override;
  RmsPropOptions options_;
  std::vector<Tensor>& square_;
  std::vector<Tensor>* momentum_ = nullptr;
};

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10;
};
/// s += g^2;  p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps) (Duchi, Hazan and Singer, JMLR 12,
/// 2011).
class Adagrad final : public Optimizer {
 public:
  Adagrad(Parameters, const AdagradOptions& = {});

 private:
  void update(std::span<const Part>) override;
  AdagradOptions options_;
  std::vector<Tensor>& sum_;
};

struct LionOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
};
/// p = (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g (Chen et al.,
/// arXiv:2302.06675).
class Lion final : public Optimizer {
 public:
  Lion(Parameters, const LionOptions& = {});

 private:
  void update(std::span<const Part>) override;
  LionOptions options_;
  std::vector<Tensor>& mean_;
};

struct MuonOptions {
  double lr = 1e-3, weight_decay = 0.1, momentum = 0.95;
  bool nesterov = true;
  int ns_steps = 5;
};
/// Momentum made orthogonal by Newton and Schulz's iteration: p = (1 - lr weight_decay) p - lr sqrt(max(1,
/// rows / columns)) O (Jordan et al., Muon, 2024, with its coefficients). For the matrices between layers;
/// others throw ShapeError and belong to another optimizer.
class Muon final : public Optimizer {
 public:
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
  void update();
  /// Exchanges the parameters' elements with the averages': to test with them, and back.
  void swap();
  const std::vector<Tensor>& averages() const { return averages_; }

 private:
  std::vector<Tensor> parameters_, averages_;
  double decay_;
};

/// Keeps gradients of f16 products away from 0: backward(scaler.scale(loss)); scaler.step(optimizer).
class GradScaler {
 public:
  double scale_factor =
      65536;  ///< halved where a gradient overflowed, doubled after `patience` steps without
  int patience = 2000;
  Tensor scale(const Tensor& loss) const;
  /// Divides the gradients by the scale and steps; or leaves the parameters as they are where a gradient is
  /// not finite. Waits for the GPU. Says whether it stepped.
  bool step(Optimizer&);

 private:
  int good_ = 0;
};

}  // namespace bobbin::optim
