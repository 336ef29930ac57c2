// Functions of one number far from 0, near 0 and at infinity, against closed forms.
#include <bobbin/elementwise.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck/edges/functions.h"
#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/edges/one_check.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

// Where f32 and f64 lose exp(-x) beside 1 (17.5, 37.4), where exp leaves f32 (88, 104) and f64 (710).
std::vector<double> points(const ScalarFunction& f, DType d) {
  std::vector<double> out;
  for (const double size : {1e-6, 1e-3, 1., 8., 17.5, 20., 37.4, 40., 88., 104., 710., 3e4, 1e38, inf})
    for (const double x : {size, -size}) {
      const double rounded = full({}, x, d).item();
      if (rounded >= f.low && rounded <= f.high && std::isinf(rounded) == std::isinf(x))
        out.push_back(rounded);
    }
  return out;
}

Part part(int order, int input, int of, const std::vector<double>& x, Wide (*f)(Wide)) {
  Part p{order, input, of, DType::f64, {static_cast<std::int64_t>(x.size())}, {}};
  for (const double v : x) p.values.push_back(static_cast<double>(f(v)));
  return p;
}

GradcheckReport check(const ScalarFunction& f, const EdgeOptions& options) {
  const auto x = points(f, options.dtype);
  Question q{[&](Inputs in) { return f.call(in[0]); }, {to(from_range(x), options.dtype)}, options.dtype};
  q.ones = true;
  const auto got = evaluate(q, options.dtype, options.device);
  std::vector<Part> want;
  for (const Part& p : got) {
    const bool cotangent = p.order == 2 && p.input == 1;
    want.push_back(part(p.order, p.input, p.of, x,
                        p.order == 0                ? f.value
                        : p.order == 1 || cotangent ? f.slope
                                                    : f.curvature));
  }
  // Near 0, second derivatives that are 0 there have no relative accuracy.
  for (Part& p : want)
    if (p.order == 2 && p.input == 0)
      for (std::size_t i = 0; i < x.size(); ++i)
        if (std::abs(x[i]) < 1) p.values[i] = Judge::unknown();
  Judge judge(options.dtype, true, allowed_for(f.op, options.device, {8, 16, true}));
  // The rounding of an exponent multiplies the result by 1 + exponent * unit.
  if (f.exponent) judge.exponents(f.from_order, part(0, -1, 0, x, f.exponent).values);
  judge(got, want, fmt::format("at +-1e-6 to infinity, closed form"));
  auto report = std::move(judge).report();
  for (auto& m : report.mismatches) {
    m.oracle = "closed form";
    m.cotangent = fmt::format("ones, x = {:.9g}", x[static_cast<std::size_t>(m.index)]);
  }
  if (!report.mismatches.empty())
    report.failure +=
        fmt::format(", x = {:.9g}", x[static_cast<std::size_t>(report.mismatches.front().index)]);
  return report;
}

}  // namespace

std::vector<CheckResult> check_tails(const OpInfo& op, const EdgeOptions& options) {
  std::vector<CheckResult> out;
  for (const ScalarFunction& f : scalar_functions()) {
    const std::string note = f.note.empty() ? "closed form" : std::string(f.note);
    if (f.op == op.name && matches(options.sample, note))
      out.push_back(one_check(op, note, "tails", options, [&] { return check(f, options); }));
  }
  return out;
}

std::vector<std::string> operations_with_tails() {
  std::vector<std::string> names;
  for (const ScalarFunction& f : scalar_functions())
    if (names.empty() || names.back() != f.op) names.emplace_back(f.op);
  return names;
}

}  // namespace bobbin::gradcheck_detail
