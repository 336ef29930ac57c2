// Zeros, subnormal, tiny, huge and infinite numbers and NaN in each input.
#include <bobbin/elementwise.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/edges/one_check.h"
#include "autograd/gradcheck/oracles/gradients.h"
#include "autograd/gradcheck/precision/tolerance.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::int64_t most_elements = 64;

std::vector<double> numbers_of_each_class(DType d) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const double least = std::ldexp(1, format(d).least), most = std::ldexp(1, d == DType::f16 ? 14 : 125);
  return {0,
          -0.0,
          3 * smallest(d),
          -3 * smallest(d),
          2 * least,
          -2 * least,
          1,
          -1,
          most,
          -most,
          inf,
          -inf,
          std::numeric_limits<double>::quiet_NaN()};
}

Question question(const OpInfo& op, const Sample& sample, const EdgeOptions& options) {
  Question q{sample.call, {}, options.dtype};
  q.seed = options.seed;
  q.orders = op.differentiable ? 2 : 0;
  return q;
}

// An operation on elements, at all numbers or all pairs of them.
GradcheckReport on_grid(const OpInfo& op, const Sample& sample, const EdgeOptions& options) {
  const auto numbers = numbers_of_each_class(options.dtype);
  std::vector<double> a, b;
  for (const double x : numbers)
    for (const double y : numbers) a.push_back(x), b.push_back(y);
  Question q = question(op, sample, options);
  const auto n = static_cast<std::int64_t>(a.size());
  if (sample.inputs.size() == 1)
    q.inputs = {to(from_range(numbers), options.dtype)};
  else
    q.inputs = {to(from_range(a, Shape{n}), options.dtype), to(from_range(b, Shape{n}), options.dtype)};
  if (sample.inputs.size() ==
      3)  // a derivative of a function of two numbers, of which the gradient comes first
    q.inputs.insert(q.inputs.begin(), ones({n}, options.dtype));
  Judge judge(options.dtype, true, allowed_for(op.name, options.device, {16, 16, true}));
  judge(evaluate(q, options.dtype, options.device), evaluate(q, DType::f64, Device::cpu()),
        "numbers of each class");
  return std::move(judge).report();
}

// Each number as one element of each input.
GradcheckReport one_by_one(const OpInfo& op, const Sample& sample, const EdgeOptions& options) {
  Judge judge(options.dtype, false, allowed_for(op.name, options.device, {16, 64}));
  Question q = question(op, sample, options);
  judge.nudged_by([&](std::uint64_t signs) { return nudged(q, op.name, signs); });
  for (std::size_t k = 0; k < sample.inputs.size(); ++k) {
    if (!varied(sample.inputs[k]) || sample.inputs[k].numel() == 0) continue;
    for (const double number : numbers_of_each_class(options.dtype)) {
      q.inputs.clear();
      for (const Tensor& t : sample.inputs) q.inputs.push_back(varied(t) ? to(t, options.dtype) : t);
      auto values = q.inputs[k].to_vector<double>();
      const std::size_t at = values.size() / 2;
      values[at] = number;
      q.inputs[k] = to(from_range(values, q.inputs[k].shape()), options.dtype);
      judge(evaluate(q, options.dtype, options.device), evaluate(q, DType::f64, Device::cpu()),
            fmt::format("input {} is {} at flat {}", k, number, at));
    }
  }
  return std::move(judge).report();
}

}  // namespace

std::vector<CheckResult> check_classes(const OpInfo& op, const EdgeOptions& options) {
  std::vector<CheckResult> out;
  if (options.dtype == DType::f64 && options.device.is_cpu())
    return out;  // it is what the others compare with
  for (auto& sample : valid_samples(op, options.seed)) {
    std::int64_t elements = 0;
    for (const Tensor& t : sample.inputs) elements += varied(t) ? t.numel() : 0;
    if (elements == 0 || elements > most_elements || !matches(options.sample, sample.note)) continue;
    out.push_back(one_check(op, sample.note, "classes", options, [&] {
      const Shape shape = sample.call(sample.inputs).shape();
      const bool same_shapes = std::ranges::all_of(
          sample.inputs, [&](const Tensor& t) { return varied(t) && t.shape() == shape; });
      return is_elementwise(op.name) && same_shapes ? on_grid(op, sample, options)
                                                    : one_by_one(op, sample, options);
    }));
  }
  return out;
}

}  // namespace bobbin::gradcheck_detail
