// Optimizers. A step reads each parameter's .grad() and edits the parameter in place, without recording.
// Parameters are f32 or f64, on any device; a parameter without a gradient is not changed. A step that throws
// has changed nothing, the step count included. On a GPU a step only enqueues kernels: one launch, if all
// parameters fit in it. A step that is captured (capture.h) reads `lr` and the step counts at each replay;
// the optimizer must then live, at the same address, as long as the captured step. Gradients accumulate until
// zero_grad(): several calls of backward() per step give a larger batch.
//
// Learning rates, weight decays and eps are finite and not negative; momenta, betas and alpha are in [0, 1).
// Constructors throw ValueError for other numbers, step() for another `lr`.
#pragma once
#include <bobbin/optimizer.h>

#include <map>
#include <span>
#include <string>
#include <vector>

namespace bobbin::optim {

/// Settings of Sgd.
struct SgdOptions {
  double lr = 1e-2;         ///< learning rate
  double momentum = 0;      ///< factor of the earlier m
  double weight_decay = 0;  ///< factor of p that is added to the gradient
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
  double beta2 = 0.999;     ///< decay of the squared gradient's average
  double eps = 1e-8;        ///< added to the root
  double weight_decay = 0;  ///< factor of the parameter that is added to the gradient
};
/// Adam (Kingma and Ba, arXiv:1412.6980); weight decay is added to the gradient. The bias corrections count
/// the steps of each parameter, so that one whose gradient comes late starts as the others did.
class Adam : public Optimizer {
 public:
  /// Throws as Optimizer does.
  Adam(Parameters, const AdamOptions& = {});

 protected:
  /// For AdamW: `decoupled` weight decay shrinks the parameters.
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
  double beta2 = 0.999;        ///< decay of the squared gradient's average
  double eps = 1e-8;           ///< added to the root
  double weight_decay = 1e-2;  ///< each step multiplies the parameter by 1 - lr weight_decay
};
/// Adam with decoupled weight decay, which shrinks the parameters (Loshchilov and Hutter, arXiv:1711.05101).
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
  double weight_decay = 0;  ///< factor of the parameter that is added to the gradient
  double momentum = 0;      ///< factor of the earlier m
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
  double lr_decay = 0;                   ///< see the formula
  double weight_decay = 0;               ///< factor of the parameter that is added to the gradient
  double initial_accumulator_value = 0;  ///< s before the first step
  double eps = 1e-10;                    ///< added to the root
};
/// s += g^2;  p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps), where `step` counts the steps of the
/// parameter (Duchi, Hazan and Singer, JMLR 12, 2011).
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
  double beta1 = 0.9;       ///< factor of the average m in a step
  double beta2 = 0.99;      ///< decay of the average
  double weight_decay = 0;  ///< each step multiplies the parameter by 1 - lr weight_decay
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
  double weight_decay = 0.1;  ///< each step multiplies the parameter by 1 - lr weight_decay
  double momentum = 0.95;     ///< decay of the gradient's average
  bool nesterov = true;       ///< Nesterov's momentum
  int ns_steps = 5;           ///< steps of Newton and Schulz's iteration
};
/// Muon: p = (1 - lr weight_decay) p - lr sqrt(max(1, rows / columns)) O, where O is the momentum, made
/// orthogonal by Newton and Schulz's iteration (Jordan et al., Muon, 2024, with its coefficients). For the
/// weight matrices of hidden layers; give other parameters to another optimizer.
class Muon final : public Optimizer {
 public:
  /// Throws as Optimizer does, ShapeError for a parameter that is no matrix, and ValueError unless ns_steps
  /// >= 1.
  Muon(Parameters, const MuonOptions& = {});

 private:
  void update(std::span<const Part>) override;
  MuonOptions options_;
  std::vector<Tensor>& momentum_;
};

/// Returns the norm of all gradients together, an f64 scalar on the device of the first one. If it exceeds
/// max_norm, scales the gradients down to that norm. Sums and factors are f64, so that the norm may exceed
/// the gradients' dtype. Gradients of all dtypes and strides; a parameter that is listed twice counts once.
/// If a gradient has an infinity, the factor is 0, if it has NaN, the factor is NaN. Does not wait for a GPU.
/// Throws ValueError unless max_norm > 0, or if there is no gradient; if it throws, it has changed nothing.
Tensor clip_grad_norm(std::span<const Tensor> parameters, double max_norm);
/// Clamps every element of the gradients to [-limit, limit]; NaN stays NaN. Throws ValueError unless limit >
/// 0; if it throws, it has changed nothing.
void clip_grad_value(std::span<const Tensor> parameters, double limit);

/// An exponential moving average of parameters: average = decay average + (1 - decay) parameter.
class Ema {
 public:
  /// The averages start as a copy of the parameters. Throws ValueError unless 0 <= decay < 1; DTypeError,
  /// ShapeError and ValueError for tensors that an Optimizer would refuse: of other dtypes than f32 and f64,
  /// strided, given twice.
  Ema(std::vector<Tensor> parameters, double decay = 0.999);
  /// Updates the averages; to be called after each step.
  void update();
  /// Exchanges the elements of the parameters and of the averages, in place: before a test with the averages,
  /// and again after it.
  void swap();
  /// One average per parameter, in their order.
  const std::vector<Tensor>& averages() const { return averages_; }
  /// The averages by the names "average.0", "average.1", ...; they share their elements.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies these elements into the averages. Throws FormatError if they do not fit, and then changes
  /// nothing.
  void load_state_dict(const std::map<std::string, Tensor>&);

 private:
  std::vector<Tensor> parameters_, averages_;
  double decay_;
};

/// Scales the loss, so that small gradients of f16 products are not rounded to 0:
/// backward(scaler.scale(loss)); scaler.step(optimizer).
class GradScaler {
 public:
  static constexpr double least = 0x1p-24;  ///< scale_factor is not halved below this
  static constexpr double most = 0x1p+64;   ///< scale_factor is not doubled beyond this
  double scale_factor = 65536;  ///< halved if a gradient is not finite, doubled after `patience` other steps
  int patience = 2000;          ///< steps without overflow until the scale is doubled
  /// loss times scale_factor. Throws ValueError unless that is in [least, most].
  Tensor scale(const Tensor& loss) const;
  /// Divides the gradients by the scale and makes a step; makes no step if an element of a gradient is not
  /// finite. Waits for the GPU. Returns whether it made a step. Throws ValueError unless scale_factor is in
  /// [least, most] and patience >= 1, and what the optimizer throws; gradients and scale are as before then.
  bool step(Optimizer&);
  /// The scale ("scale") and the number of steps since it changed ("growth_tracker"), as in PyTorch.
  std::map<std::string, Tensor> state_dict() const;
  /// Takes them from such a state. Throws FormatError if it does not fit, and then changes nothing.
  void load_state_dict(const std::map<std::string, Tensor>&);

 private:
  void require_options() const;
  std::int64_t good_ = 0;  // steps since the scale changed
};

}  // namespace bobbin::optim
