// Gradient checkpointing: an operation whose derivative runs its function again.
#include <bobbin/autocast.h>
#include <bobbin/checkpoint.h>
#include <bobbin/op.h>
#include <bobbin/random.h>

#include <utility>

#include "core/recompute.h"

namespace bobbin {
namespace {

class Checkpoint final : public OpBase {
 public:
  Checkpoint(std::function<Tensor(Inputs)> f, Generator before)
      : f_(std::move(f)), before_(before), products_(autocast_dtype()), results_(autocast_results()) {}
  std::string_view name() const override { return "checkpoint"; }
  Saves saves(Needs) const override { return Saves::inputs; }
  std::shared_ptr<Node> make_node(const TensorSpec& spec) const override {
    return detail::make_op_node(spec, *this);
  }

  // Runs f again on the recorded inputs, so that the new part of the tape continues at the nodes of the
  // inputs.
  Tensor replay(const Vjp& v) const override {
    std::vector<Tensor> inputs;
    inputs.reserve(static_cast<std::size_t>(v.count()));
    for (int i = 0; i < v.count(); ++i) inputs.push_back(v.input(i));
    const GradMode recording(true);
    const GeneratorScope draws(before_);
    const Autocast as_before(products_, results_);
    const detail::Recomputation again;  // the first call has updated running statistics
    return f_(inputs);
  }

 private:
  std::function<Tensor(Inputs)> f_;
  Generator before_;
  DType products_;
  ProductResults results_;
};

}  // namespace

Tensor checkpoint(std::function<Tensor(Inputs)> f, std::span<const Tensor> inputs) {
  if (!grad_enabled()) return f(inputs);
  const Generator before = default_generator();
  Tensor y = [&] {
    const NoGrad quiet;
    return f(inputs).detach();
  }();
  detail::attach(Checkpoint(std::move(f), before), inputs, y);
  return y;
}

}  // namespace bobbin
