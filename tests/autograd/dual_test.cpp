// Derivatives by dual numbers: the numbers themselves, the operations that have a scalar reference, and that
// a derivative that is wrong in the tenth digit is found.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "autograd/gradcheck/oracles/dual_oracle.h"
#include "autograd/gradcheck/oracles/reference.h"
#include "core/probe.h"
#include "ops/elementwise/functors.h"

using namespace bobbin;
using namespace bobbin::gradcheck_detail;

namespace {

Second variable(double x) { return {{Rounded(x), Rounded(1)}, {Rounded(1), Rounded(0)}}; }

// Value, first and second derivative of f at x, against closed forms.
template<class F>
void expect_derivatives(F f, double x, double y, double first, double second) {
  const Second r = f(variable(x));
  EXPECT_DOUBLE_EQ(r.value.value.value, y);
  EXPECT_DOUBLE_EQ(r.value.slope.value, first);
  EXPECT_DOUBLE_EQ(r.slope.value.value, first);
  EXPECT_NEAR(r.slope.slope.value, second, 4e-15 * std::abs(second));
  EXPECT_LE(std::abs(r.slope.slope.value - second), 4 * 0x1p-53 * r.slope.slope.error);
}

TEST(Dual, KnowsTheFunctionsOfTheOperations) {
  const double x = 0.7, e = std::exp(x), s = std::sin(x), c = std::cos(x), t = std::tanh(x);
  expect_derivatives([](Second v) { return exp(v); }, x, e, e, e);
  expect_derivatives([](Second v) { return expm1(v); }, x, std::expm1(x), e, e);
  expect_derivatives([](Second v) { return log(v); }, x, std::log(x), 1 / x, -1 / (x * x));
  expect_derivatives([](Second v) { return log1p(v); }, x, std::log1p(x), 1 / 1.7, -1 / (1.7 * 1.7));
  expect_derivatives([](Second v) { return sqrt(v); }, x, std::sqrt(x), 0.5 / std::sqrt(x),
                     -0.25 / (x * std::sqrt(x)));
  expect_derivatives([](Second v) { return sin(v); }, x, s, c, -s);
  expect_derivatives([](Second v) { return cos(v); }, x, c, -s, -c);
  expect_derivatives([](Second v) { return tanh(v); }, x, t, 1 - t * t, -2 * t * (1 - t * t));
  const double bell = 2 * std::numbers::inv_sqrtpi * std::exp(-x * x);
  expect_derivatives([](Second v) { return erf(v); }, x, std::erf(x), bell, -2 * x * bell);
  expect_derivatives([](Second v) { return pow(v, Second(3)); }, -1.5, -3.375, 6.75, -9);
  expect_derivatives([](Second v) { return pow(Second(2), v); }, 3, 8, 8 * std::log(2),
                     8 * std::log(2) * std::log(2));
  expect_derivatives([](Second v) { return v * v / (v + Second(1)); }, 1, 0.5, 0.75, 0.25);
  expect_derivatives(fn::Relu{}, -2, 0, 0, 0);
  expect_derivatives(fn::Clamp{-1, 1}, 0.5, 0.5, 1, 0);
}

TEST(Dual, KnowsHowFarRoundingGoes) {
  // 1 - tanh^2 at 15 has lost all digits; the bound says so.
  const First t = fn::Tanh{}(First(Rounded(15), Rounded(1)));
  const double exact = 1 / (std::cosh(15) * std::cosh(15));
  EXPECT_GT(std::abs(t.slope.value - exact), 1e-5 * exact);
  EXPECT_LE(std::abs(t.slope.value - exact), 0x1p-53 * t.slope.error);
  EXPECT_EQ((Rounded(3) * Rounded(4)).error, 12);
}

TEST(Slices, RunOverTheAxesAsked) {
  EXPECT_EQ(slices({2, 3}, {1}), (std::vector<std::vector<std::int64_t>>{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(slices({2, 3}, {0}), (std::vector<std::vector<std::int64_t>>{{0, 3}, {1, 4}, {2, 5}}));
  EXPECT_EQ(slices({}, {}), (std::vector<std::vector<std::int64_t>>{{0}}));
  EXPECT_EQ(broadcast_indices({2, 1}, {2, 2, 3}),
            (std::vector<std::int64_t>{0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1}));
}

struct Counted {
  bool judged[3] = {};
  std::vector<DualElement> failed;
};
Counted check_all(const OpInfo& op) {
  manual_seed(33);
  Counted out;
  for (auto& sample : op.samples())
    for (const int order : {1, 2}) {
      const auto report = check_steps(sample, order);
      out.judged[order] |= report.operations.contains(std::string(op.name));
      out.failed.insert(out.failed.end(), report.failed.begin(), report.failed.end());
    }
  return out;
}

// The differentiable operations that have no scalar reference, with the reason. A new operation needs a
// reference in autograd/gradcheck/oracles (an elementwise one has it by ops/elementwise/list.h) or a line
// here.
struct Reason {
  std::string_view why;
  std::set<std::string_view> operations;
};
const Reason reasons[] = {
    {"they copy elements, or zeros, or add copies",
     {"to_dtype", "to_device", "reshape", "permute", "slice", "expand", "concat", "pad", "index_select",
      "index_add", "gather", "scatter_add", "dropout", "max_pool2d", "max_pool2d_backward"}},
    {"they are sums of products: finite differences are exact but for rounding",
     {"matmul", "linear", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "avg_pool2d",
      "avg_pool2d_backward"}},
    {"it is made of operations that are compared on their own", {"nll_loss"}},
    {"its derivative is its own; finite differences alone compare it", {"batch_norm"}}};
bool has_reason(std::string_view op) {
  return std::ranges::any_of(reasons, [&](auto& r) { return r.operations.contains(op); });
}

TEST(DualOracle, AgreesWithEveryOperationThatHasAReference) {
  std::size_t listed = 0, without = 0;
  for (auto& r : reasons) listed += r.operations.size();
  for (auto& op : all_ops()) {
    if (!op.differentiable) continue;
    const Counted all = check_all(op);
    EXPECT_NE(all.judged[1], has_reason(op.name))
        << op.name << " needs a scalar reference or a reason for having none, and not both";
    without += has_reason(op.name);
    EXPECT_EQ(all.judged[1], all.judged[2]) << op.name;
    for (auto& e : all.failed)
      ADD_FAILURE() << e.op << ", order " << e.order << ", input " << e.input << " [" << e.index
                    << "]: " << e.analytic << ", not " << e.dual << " within " << e.tolerance;
  }
  EXPECT_EQ(without, listed) << "a reason is given for what is no differentiable operation";
}

// sum_j v_j y_j with element i of input k at x.
double weighted(const Step& step, std::size_t k, std::size_t i, double x, const std::vector<double>& v) {
  std::vector<Tensor> moved(step.inputs);
  moved[k] = clone(moved[k]);
  moved[k].mutable_data<double>()[i] = x;
  const auto y = detail::record(step.op(), moved).to_vector<double>();
  double sum = 0;
  for (std::size_t j = 0; j < y.size(); ++j) sum += v[j] * y[j];
  return sum;
}

// The two oracles, without the operation's own derivative between them.
TEST(DualOracle, AgreesWithDifferences) {
  std::int64_t compared = 0;
  for (auto& op : all_ops()) {
    if (!op.differentiable) continue;
    manual_seed(34);
    for (auto& sample : op.samples()) {
      if (!sample.throws.empty() || !sample.differentiable) continue;
      for (auto& step : steps_of(sample.call, sample.inputs)) {
        const Tensor y = detail::record(step.op(), step.inputs), v = uniform(y.shape(), 0.5, 1.5, DType::f64);
        const auto dual = dual_vjp(step.op(), step.inputs, v);
        if (!dual) continue;
        const auto weights = v.to_vector<double>(), values = y.to_vector<double>();
        // Nothing is differenced where a mask has put -inf.
        if (!std::ranges::all_of(values, [](double e) { return std::isfinite(e); })) continue;
        for (std::size_t k = 0; k < step.inputs.size(); ++k) {
          if (!step.needs[k]) continue;
          const auto x = step.inputs[k].to_vector<double>();
          for (std::size_t i = 0; i < x.size(); ++i) {
            const auto slope = [&](double h) {
              return (weighted(step, k, i, x[i] + h, weights) - weighted(step, k, i, x[i] - h, weights)) /
                     (2 * h);
            };
            const double d1 = slope(0x1p-8), d2 = slope(0x1p-9), d4 = slope(0x1p-10), r1 = (4 * d2 - d1) / 3,
                         r2 = (4 * d4 - d2) / 3, numeric = (16 * r2 - r1) / 15;
            EXPECT_NEAR(dual->inputs[k].value[i], numeric, 1e-9 * std::max(1.0, std::abs(numeric)))
                << step.op().name() << " (" << sample.note << "), input " << k << " [" << i << "]";
            ++compared;
          }
        }
      }
    }
  }
  EXPECT_GT(compared, 2500);
}

// Multiplies the derivative of one operation.
class Wrong final : public detail::Probe {
 public:
  Wrong(std::string_view op, double factor) : op_(op), factor_(factor) {}
  Grads derivative(Node& node, const Vjp& v) override {
    Grads g = Probe::derivative(node, v);
    if (node.op->name() == op_)
      for (Tensor& t : g)
        if (t) t = t * factor_;
    return g;
  }

 private:
  std::string_view op_;
  double factor_;
};

TEST(DualOracle, FindsAFactorOfOnePlus1e11InEveryOperationThatHasAReference) {
  for (auto& op : all_ops()) {
    if (!op.differentiable || has_reason(op.name) || op.name == "sign") continue;
    const Wrong wrong(op.name, 1 + 1e-11);
    const Counted all = check_all(op);
    EXPECT_FALSE(all.failed.empty()) << op.name;
    for (auto& e : all.failed) EXPECT_EQ(e.op, op.name);
  }
}

TEST(DualOracle, NaNFails) {
  const Wrong wrong("tanh", std::numeric_limits<double>::quiet_NaN());
  const auto steps = steps_of([](Inputs x) { return tanh(x[0]); }, std::vector{randn({3}, DType::f64)});
  ASSERT_EQ(steps.size(), 1u);
  const auto report = check_step(steps[0], 1);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->failed.size(), 3u);
  EXPECT_FALSE(report->worst <= 1);
}

// Every step of a model that has a reference is judged where it is.
TEST(DualOracle, TakesModelsApart) {
  const Tensor t = tensor({1, 0}, DType::i64);
  const auto f = [&](Inputs x) { return cross_entropy(tanh(matmul(x[0], x[1])), t); };
  const auto steps = steps_of(f, std::vector{randn({2, 3}, DType::f64), randn({3, 4}, DType::f64)});
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_FALSE(check_step(steps[0], 1));
  for (const std::size_t i : {1, 2}) {
    const auto report = check_step(steps[i], 2);
    ASSERT_TRUE(report);
    EXPECT_GT(report->compared, 8);
    EXPECT_TRUE(report->failed.empty());
  }
}

}  // namespace
