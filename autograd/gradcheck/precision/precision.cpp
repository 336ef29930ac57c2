// Runs every operation again in f64 on the CPU, and compares; and the mode that does so for all samples, with
// its table.
#include "autograd/gradcheck/precision/precision.h"

#include <bobbin/autograd.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "autograd/gradcheck/checks/checks.h"
#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/oracles/integrity.h"
#include "autograd/gradcheck/precision/tolerance.h"
#include "core/probe.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr Device cpu = Device::cpu();

Tensor exact(const Tensor& x) {
  if (!x) return x;
  const Tensor here = to(x.detach(), cpu);
  return is_floating(here.dtype()) ? to(here, DType::f64) : here;
}
std::vector<Tensor> exact(Inputs x) {
  std::vector<Tensor> out;
  for (const Tensor& t : x) out.push_back(exact(t));
  return out;
}

bool is_reference(const Tensor& x) {
  return !x || (x.device() == cpu && (!is_floating(x.dtype()) || x.dtype() == DType::f64));
}

// While it lives, repeats the operations that run on this thread in f64 on the CPU.
class Shadow final : public detail::Probe {
 public:
  explicit Shadow(PrecisionReport& report) : report_(report) {}

  void ran(const OpBase& op, Inputs x, const Tensor& y) override {
    if (busy_ || (is_reference(y) && std::all_of(x.begin(), x.end(), is_reference))) return;
    const Guard guard(busy_);
    std::vector<Tensor> inputs;
    {
      const NoGrad quiet;
      inputs = exact(x);
      ++report_.runs;
      compare(op, inputs, y);
    }
    if (!y.requires_grad()) return;
    Recorded kept{y, std::move(inputs)};
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i] && x[i].requires_grad()) kept.inputs[i] = kept.inputs[i].detach().set_requires_grad();
    recorded_.insert_or_assign(y.node().get(), std::move(kept));
  }

  // Compares the derivative as a whole, because a kernel may compute it without running operations.
  Grads derivative(Node& node, const Vjp& v) override {
    const Grads got = Probe::derivative(node, v);
    const auto it = recorded_.find(&node);
    if (busy_ || it == recorded_.end()) return got;
    const Guard guard(busy_);
    const auto& [y, inputs] = it->second;
    std::vector<Tensor> wanted;
    std::vector<int> places;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i] && inputs[i].requires_grad())
        wanted.push_back(inputs[i]), places.push_back(static_cast<int>(i));
    GradMode mode(true);
    const Tensor again = detail::record(*node.op, inputs);
    if (!again.requires_grad() || again.dtype() != DType::f64) return got;
    const Tensor cotangent = to(exact(v.grad), again.device());
    const auto want = grad(again, wanted, cotangent);
    const NoGrad quiet;
    double most = largest(cotangent);
    for (const Tensor& t : inputs)
      if (t && is_floating(t.dtype())) most = std::max(most, largest(t));
    for (std::size_t k = 0; k < places.size(); ++k)
      if (const Tensor& g = got[static_cast<std::size_t>(places[k])])
        compare_derivative(node.op->name(), places[k], g, want[k], std::max(most, largest(want[k])));
    return got;
  }

 private:
  struct Recorded {
    Tensor output;  // keeps the node
    std::vector<Tensor> inputs;
  };
  struct Guard {
    explicit Guard(bool& b) : busy(b) { busy = true; }
    ~Guard() { busy = false; }
    bool& busy;
  };

  void compare(const OpBase& op, Inputs x, const Tensor& y) {
    const auto again = [&](Inputs in) { return to(detail::record(op, in), cpu); };
    const Tensor want = again(x);
    const Bound bound = is_floating(y.dtype()) ? bound_of(op.name()) : Bound{0};
    const Tolerance close(bound, x, want, y.dtype(), again);
    const auto got = y.to_vector<double>(), exact = want.to_vector<double>();
    double& ulps = report_.ulps[std::string(op.name())];
    for (std::size_t i = 0; i < got.size(); ++i)
      judge(close.error(i, got[i], exact[i]),
            {std::string(op.name()), false, -1, static_cast<std::int64_t>(i), got[i], exact[i],
             in_ulps(y.dtype(), got[i], exact[i])},
            &ulps);
  }

  void compare_derivative(std::string_view op, int input, const Tensor& g, const Tensor& w, double most) {
    const auto got = g.to_vector<double>(), want = w.to_vector<double>();
    const double allowed = 8 * epsilon(g.dtype()) * most;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const bool same = got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])) ||
                        got[i] == full({}, want[i], g.dtype()).item();
      judge(same ? 0 : std::abs(got[i] - want[i]) / allowed,
            {std::string(op), true, input, static_cast<std::int64_t>(i), got[i], want[i],
             in_ulps(g.dtype(), got[i], want[i])},
            nullptr);
    }
  }

  static double in_ulps(DType d, double got, double want) {
    return std::isfinite(got) && std::isfinite(want) ? std::abs(got - want) / ulp(d, want) : 0;
  }

  void judge(double error, Inexact what, double* ulps) {
    ++report_.elements;
    if (!(error <= report_.worst)) report_.worst = error;
    if (ulps) *ulps = std::max(*ulps, what.ulps);
    if (!(error <= 1)) report_.failed.push_back(std::move(what));
  }

  PrecisionReport& report_;
  bool busy_ = false;
  std::unordered_map<const Node*, Recorded> recorded_;
};

}  // namespace

namespace {

// Compares both orders of derivatives of the whole call with f64.
void compare_whole(const Sample& sample, DType dtype, Device device, PrecisionReport& report) {
  constexpr double any_value = 1e9;  // the steps are compared more closely
  Question q{sample.call, {}, dtype};
  for (const Tensor& x : sample.inputs) q.inputs.push_back(varied(x) ? to(x, dtype) : x);
  Judge judge(dtype, false, {any_value, size_of(dtype) == 2 ? 16. : 64., false, false, 4});
  judge.second_by_first(sizes_of(q.inputs), 1);
  judge(evaluate(q, dtype, device), evaluate(q, DType::f64, cpu), "");
  const auto whole = std::move(judge).report();
  report.elements += whole.elements;
  if (!(whole.worst <= report.worst)) report.worst = whole.worst;
  for (auto& m : whole.mismatches)
    report.failed.push_back({m.order == 1 ? "the call" : "the call's gradient", true, m.input, m.index,
                             m.analytic, m.numeric, m.error() / ulp(dtype, m.numeric)});
}

}  // namespace

PrecisionReport check_precision(const Sample& sample, bool differentiable, DType dtype, Device device) {
  PrecisionReport report;
  bool floating = false;
  std::vector<Tensor> x;
  for (const Tensor& t : sample.inputs) {
    x.push_back(t);
    if (!t) continue;
    if (is_floating(t.dtype())) x.back() = to(t, dtype), floating = true;
    x.back() = clone(to(x.back(), device));
    if (is_floating(t.dtype()) && differentiable) x.back().set_requires_grad();
  }
  if (!floating && device == cpu) {
    report.skipped = "no floating-point input";
    return report;
  }
  try {
    const Shadow shadow(report);
    const Tensor y = sample.call(x);
    if (!differentiable || !y.requires_grad()) return report;
    std::vector<Tensor> wanted;
    for (const Tensor& t : x)
      if (t && t.requires_grad()) wanted.push_back(t);
    const Tensor v = to(to(random_cotangent(empty(y.shape(), DType::f64)), y.dtype()), y.device());
    grad(y, wanted, v, CreateGraph::no, Retain::yes);
    if (y.numel() == 1) grad(y, wanted);  // some operations compute this gradient in the forward pass
  } catch (const DTypeError& e) {         // the sample has further tensors, in f64
    report.skipped = e.what();
  } catch (const ShapeError& e) {
    report.skipped = e.what();
  } catch (const DeviceError& e) {
    report.skipped = e.what();
  }
  if (report.skipped.empty()) compare_whole(sample, dtype, device, report);
  return report;
}

namespace {

PrecisionRow compare_operation(const OpInfo& op, DType dtype, Device device, std::uint64_t seed) {
  PrecisionRow row{std::string(op.name), dtype, 0, {}, {}, {}};
  for (auto& sample : valid_samples(op, seed)) {
    const bool differentiable = op.differentiable && sample.differentiable;
    const auto report = check_precision(sample, differentiable, dtype, device);
    if (!report.skipped.empty()) {
      row.skipped.push_back(sample.note + ": " + report.skipped);
      continue;
    }
    ++row.samples;
    if (differentiable) {
      std::vector<Tensor> there;
      for (const Tensor& x : sample.inputs) there.push_back(x ? to(varied(x) ? to(x, dtype) : x, device) : x);
      const auto found = check_integrity(sample.call, there, seed, 20);
      if (!found.failure.empty()) row.broken.push_back(sample.note + ": " + found.failure);
    }
    PrecisionReport& all = row.total;
    all.runs += report.runs, all.elements += report.elements;
    if (!(report.worst <= all.worst)) all.worst = report.worst;
    for (auto& [name, ulps] : report.ulps) all.ulps[name] = std::max(all.ulps[name], ulps);
    all.failed.insert(all.failed.end(), report.failed.begin(), report.failed.end());
  }
  return row;
}

void print(const PrecisionRow& row, bool verbose) {
  const auto& total = row.total;
  const auto own = total.ulps.find(row.op);
  print_row(!row.ok()         ? "FAIL"
            : row.samples > 0 ? "ok  "
                              : "skip",
            row.op,
            fmt::format("{:<4} {:>3} samples {:>5} runs {:>8} elements  error by bound {:.3f}{}",
                        name(row.dtype), row.samples, total.runs, total.elements, total.worst,
                        own == total.ulps.end() ? "" : fmt::format(", {:.2f} ULP", own->second)));
  for (std::size_t i = 0; i < std::min<std::size_t>(10, total.failed.size()); ++i) {
    const Inexact& e = total.failed[i];
    fmt::print("     {}{} at flat index {}: {:.9g}, not {:.9g} ({:.3g} ULP)\n", e.op,
               e.derivative ? fmt::format("'s gradient of its input {}", e.input) : "", e.index, e.got,
               e.want, e.ulps);
  }
  for (auto& what : row.broken) fmt::print("     {}\n", what);
  if (verbose)
    for (auto& why : row.skipped) fmt::print("     skipped {}\n", why);
}

}  // namespace

std::vector<PrecisionRow> compare_precision(std::span<const OpInfo> all, std::span<const DType> dtypes,
                                            Device device, std::uint64_t seed, int jobs) {
  std::vector<const OpInfo*> ops;
  std::vector<std::string_view> names;
  for ([[maybe_unused]] const DType dtype : dtypes)
    for (auto& op : all)
      if (op.samples) ops.push_back(&op), names.push_back(op.name);
  std::vector<PrecisionRow> rows(ops.size());
  for_each_operation(
      names, device.is_cuda() ? 1 : jobs,
      [&](std::size_t i) {
        rows[i] = compare_operation(*ops[i], dtypes[i / (ops.size() / dtypes.size())], device, seed);
      },
      [](std::size_t) {});
  return rows;
}

void print(std::span<const PrecisionRow> rows, bool verbose) {
  std::size_t failed = 0, broken = 0;
  int samples = 0;
  std::int64_t runs = 0, elements = 0;
  for (auto& row : rows) {
    print(row, verbose);
    failed += row.total.failed.size(), broken += row.broken.size(), samples += row.samples;
    runs += row.total.runs, elements += row.total.elements;
  }
  fmt::print(
      "{} lines, {} samples, {} runs of operations against f64 on the CPU, {} elements, {} too far "
      "off; 20 walks a sample, {} without the same bits\n",
      rows.size(), samples, runs, elements, failed, broken);
}

}  // namespace bobbin::gradcheck_detail
