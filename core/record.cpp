// record: runs any operation. Checks the inputs, runs the kernel of the device, and leaves a node on the
// tape.
#include <bobbin/op.h>

#include <algorithm>
#include <utility>

#include "core/cuda/replay_arg.h"
#include "core/probe.h"
#include "core/strided_copy.h"

namespace bobbin {
namespace {

void check_inputs(const OpBase& op, Inputs inputs) {
  const Tensor* first = nullptr;
  for (const Tensor& x : inputs) {
    if (!x) continue;
    if (!first) first = &x;
    if (x.device() != first->device() && !op.any_device())
      fail<DeviceError>(op.name(), ": tensors must be on one device; got ", first->spec(), " and ", x.spec());
  }
  if (!first) fail<ValueError>(op.name(), ": its tensors are undefined");
}

// Runs the kernel of the output's device, unrecorded; inputs that it does not read by strides are made
// row-major.
Tensor compute(const OpBase& op, Inputs inputs, bool keep_aux, std::vector<Tensor>& aux) {
  const NoGrad quiet;
  Tensor out = empty(op.infer(inputs));
  if constexpr (built_with_cuda)
    if (out.device().is_cpu() && cuda::capturing())
      fail<DeviceError>(op.name(), ": works on the CPU, which a captured step would not repeat; got ",
                        out.spec());
  if (keep_aux)
    for (auto& spec : op.aux(inputs)) aux.push_back(empty(spec));
  const auto needs_copy = [&, reads = op.strided()](std::size_t i) {
    return inputs[i] && !inputs[i].is_contiguous() && !reads.has(static_cast<int>(i), out.device());
  };
  std::vector<Tensor> copies;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!needs_copy(i)) continue;
    if (copies.empty()) copies.assign(inputs.begin(), inputs.end());
    copies[i] = row_major(inputs[i]);
  }
  op.run(copies.empty() ? inputs : Inputs(copies), out, aux);
  return out;
}

Saved keep(const Tensor& x) { return {x, x.version()}; }

thread_local detail::Probe* probe = nullptr;

void check_anomaly(const OpBase& op, Inputs inputs, const Tensor& out) {
  const std::string name(op.name());
  for (std::size_t i = 0; i < inputs.size(); ++i)
    check_finite(name + ": its input " + std::to_string(i) + " already", inputs[i]);
  check_finite(name + ": its output", out);
}

}  // namespace

void detail::attach(const OpBase& op, Inputs inputs, Tensor& out, std::span<const Tensor> aux) {
  Needs needs;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i] && inputs[i].requires_grad()) needs.add(static_cast<int>(i));
  auto node = op.make_node(out.spec());
  const Saves saves = op.saves(needs);
  node->inputs.resize(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) continue;
    node->inputs[i].producer = inputs[i].node();
    if (saves.has(Saves::input(static_cast<int>(i)))) node->inputs[i].saved = keep(inputs[i]);
  }
  if (saves.has(Saves::output)) node->output = keep(out.detach());
  for (const Tensor& t : aux) node->aux.push_back(keep(t));
  out.set_node(std::move(node));
}

namespace {

Tensor run(const OpBase& op, Inputs inputs) {
  check_inputs(op, inputs);
  const bool wanted =
      grad_enabled() && op.differentiable() &&
      std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x && x.requires_grad(); });
  std::vector<Tensor> aux;
  Tensor out = op.is_view() ? op.view(inputs[0]) : compute(op, inputs, wanted, aux);
  if (AnomalyMode::enabled()) check_anomaly(op, inputs, out);
  if (wanted && is_floating(out.dtype())) detail::attach(op, inputs, out, aux);
  return out;
}

}  // namespace

Tensor detail::record(const OpBase& op, Inputs inputs) {
  Probe* const watching = probe;
  if (!watching) return run(op, inputs);
  watching->runs(op, inputs);
  Tensor out;
  try {
    out = run(op, inputs);
  } catch (...) {
    watching->threw(op);
    throw;
  }
  watching->ran(op, inputs, out);
  return out;
}

detail::Probe::Probe() : outer_(std::exchange(probe, this)) {}
detail::Probe::~Probe() {
  Probe** place = &probe;
  while (*place && *place != this) place = &(*place)->outer_;
  if (*place) *place = outer_;
}
detail::Probe* detail::Probe::innermost() { return probe; }

void detail::no_cuda_kernel(std::string_view op) {
  fail<DeviceError>(op, ": no CUDA kernel", BOBBIN_HAS_CUDA ? "" : " (bobbin was built without CUDA)");
}
void detail::unreachable(std::string_view op) {
  throw std::logic_error(std::string(op) + ": not that kind of operation");
}

}  // namespace bobbin
