// The table of exceptions to the checks of edges.
#include "autograd/gradcheck/edges/exceptions.h"

#include <fmt/format.h>

#include "autograd/gradcheck/edges/one_check.h"

namespace bobbin::gradcheck_detail {

std::span<const EdgeException> edge_exceptions() {
  static constexpr EdgeException table[] = {
      {"to_dtype", "scale", "through *16", "f64", "gradients pass through the narrower dtype, as values do"},
      {"to_dtype", "scale", "through f32", "f64", "gradients pass through the narrower dtype, as values do"},
      {"cross_entropy_backward", "scale", "probabilities", "f32 bf16 f16",
       "smoothed targets that are no distribution cancel: the probabilities times their sum, less the "
       "targets"},
      {"conv2d", "scale", "tanh", "f16", "the slope of a fused activation is taken from the rounded output"},
      {"conv2d", "*", "sigmoid", "f16", "the slope of a fused activation is taken from the rounded output"},
      {"pow", "*", "*", "f32 bf16", "the second derivative forms a power that leaves the range"},
      {"pow_backward", "scale", "*", "f64",
       "its derivatives, the second and third of pow, form powers that leave the range"},
      {"norm", "classes", "*", "f32 bf16",
       "the terms of the second derivative are of about 1 / y, and cancel after they overflow"},
  };
  return table;
}

const EdgeException* exception_of(const CheckResult& r, DType d) {
  for (const EdgeException& e : edge_exceptions()) {
    const std::string dtypes = fmt::format(" {} ", e.dtypes), own = fmt::format(" {} ", name(d));
    if (matches(std::string(e.op), r.op) &&
        (e.kind == "*" || r.check.starts_with(std::string(e.kind) + ",")) &&
        matches(std::string(e.sample), r.sample) &&
        (e.dtypes == "*" || dtypes.find(own) != std::string::npos))
      return &e;
  }
  return nullptr;
}

CheckResult one_check(const OpInfo& op, std::string_view sample, std::string_view kind,
                      const EdgeOptions& options, const std::function<GradcheckReport()>& f) {
  const Budget time(0);
  CheckResult r{std::string(op.name),
                std::string(sample),
                fmt::format("{}, {}", kind, name(options.dtype)),
                fmt::format("--edges --dtype {}{}", name(options.dtype),
                            options.device.is_cuda() ? " --device cuda" : ""),
                0,
                {}};
  try {
    r.report = f();
  } catch (
      const DTypeError& e) {  // the sample has further tensors, in f64, or the operation refuses the dtype
    r.report.verdict = Verdict::skip, r.report.failure = e.what();
  } catch (const DeviceError& e) {
    r.report.verdict = Verdict::skip, r.report.failure = e.what();
  } catch (...) {
    r.report.verdict = Verdict::fail, r.report.failure = caught();
  }
  if (r.report.verdict == Verdict::fail)
    if (const EdgeException* e = exception_of(r, options.dtype)) {
      r.report.verdict = Verdict::skip;
      r.report.failure = fmt::format("excepted: {} ({})", e->reason, r.report.failure);
      r.report.mismatches.clear();
    }
  r.seconds = time.passed();
  return r;
}

}  // namespace bobbin::gradcheck_detail
