// Optimizers. A step reads each parameter's .grad() and edits the parameter in place, outside the tape.
// Parameters are f32 or f64, on any device; one without a gradient is left alone. A step that throws has
// changed nothing. On a GPU a step only enqueues, and one that is captured (capture.h) follows `lr` and its
// own count of steps; the optimizer must then live, at its place, as long as the captured step.
#pragma once
#include <bobbin/tensor.h>

#include <span>
#include <vector>

namespace bobbin::optim {

class Optimizer {
 public:
  /// Throws GradError for a parameter that is no leaf or requires no gradient, DTypeError for other dtypes.
  Optimizer(std::vector<Tensor> parameters, double lr);
  virtual ~Optimizer() = default;
  void step();
  /// Drops the gradients, so that the next backward starts afresh.
  void zero_grad();
  const std::vector<Tensor>& parameters() const { return parameters_; }

  double lr;  ///< may be changed between steps

  /// A parameter that a step edits, its place among all, and its gradient; both row-major.
  struct Part {
    std::size_t index;
    Tensor parameter, grad;
  };

 protected:
  /// The parameters' new elements, written in place.
  virtual void update(std::span<const Part>) = 0;
  virtual void begin_step() {}

 private:
  std::vector<Tensor> parameters_;
};

struct SgdOptions {
  double lr = 1e-2, momentum = 0, weight_decay = 0;
  bool nesterov = false;
};

/// g += weight_decay p;  m = momentum m + g;  p -= lr (nesterov ? g + momentum m : m).
class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<Tensor> parameters, const SgdOptions& = {});

 private:
  void update(std::span<const Part>) override;
  SgdOptions options_;
  std::vector<Tensor> momentum_;
};

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};

/// Adam (Kingma and Ba, arXiv:1412.6980) with decoupled weight decay (Loshchilov and Hutter,
/// arXiv:1711.05101).
class Adam final : public Optimizer {
 public:
  Adam(std::vector<Tensor> parameters, const AdamOptions& = {});

 private:
  void begin_step() override;
  void update(std::span<const Part>) override;
  AdamOptions options_;
  std::int64_t steps_ = 0;
  std::vector<Tensor> mean_, square_;
};

}  // namespace bobbin::optim
