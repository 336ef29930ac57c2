// Tests the checks: they must find every mistake that is made in a derivative.
#include <bobbin/bobbin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "autograd/gradcheck/mutation/mutation.h"

using namespace bobbin;
using namespace bobbin::gradcheck_detail;

namespace {

constexpr std::uint64_t seed = 5;
std::set<std::string> names(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

// Other tests of this program may have registered operations without samples.
std::vector<OpInfo> ops_with_samples() {
  auto ops = all_ops();
  std::erase_if(ops, [](const OpInfo& op) { return !op.samples; });
  return ops;
}

bool passes_here(const Sample& s) { return passes(s, seed); }

TEST(Mutation, NothingFailsWithoutAMistake) {
  for (auto& op : ops_with_samples()) {
    if (!op.differentiable) continue;
    manual_seed(seed);
    for (auto& sample : op.samples())
      if (sample.throws.empty() && sample.differentiable) {
        EXPECT_TRUE(passes_here(sample)) << op.name << ", " << sample.note;
      }
  }
}

// What cannot be found, as it is no mistake there: the reasons are in the report. A mutant that becomes one
// of these by accident, as a sample was lost, shows here.
TEST(Mutation, EveryMutantIsKilledButThoseThatAreEquivalent) {
  const auto report = mutate(ops_with_samples(), {seed, 120, 2}, passes_here);
  ASSERT_TRUE(report.complete);
  std::map<Mistake, std::set<std::string>> equivalent;
  for (auto& m : report.mutants) {
    EXPECT_TRUE(m.survived.empty()) << m.op << ": " << name(m.mistake) << " in " << m.survived.front();
    EXPECT_EQ(m.killed == 0 && m.survived.empty(), !m.why.empty());
    if (!m.why.empty()) equivalent[m.mistake].insert(m.op);
  }
  const std::set<std::string> zero{"sign"};
  const auto keeps_nothing = names(
      "neg sign add sub to_dtype to_device sum mean deviation cumsum reshape permute slice expand concat "
      "pad dropout avg_pool2d avg_pool2d_backward");
  const auto no_broadcasting = names(
      "neg abs sign square exp expm1 log log1p sqrt rsqrt reciprocal sin cos tanh erf clamp "
      "maximum_backward minimum_backward square_backward expm1_backward log1p_backward sqrt_backward "
      "rsqrt_backward "
      "reciprocal_backward sin_backward cos_backward tanh_backward erf_backward pow_scalar_backward "
      "sigmoid_backward elu_backward silu_backward softplus_backward gelu_erf_backward "
      "gelu_tanh_backward "
      "sigmoid pow_scalar relu silu relu_backward leaky_relu elu softplus gelu_erf gelu_tanh "
      "softmax softmax_backward masked_softmax to_dtype cumsum to_device log_softmax permute "
      "slice log_softmax_backward pad dropout cross_entropy linear_cross_entropy max_pool2d "
      "max_pool2d_backward deviation "
      "avg_pool2d avg_pool2d_backward");
  for (const Mistake m : mistakes) {
    SCOPED_TRACE(name(m));
    if (m == Mistake::stale)
      EXPECT_EQ(equivalent[m], keeps_nothing);
    else if (m == Mistake::broadcast)
      EXPECT_EQ(equivalent[m], no_broadcasting);
    else
      EXPECT_EQ(equivalent[m], m == Mistake::nan ? std::set<std::string>() : zero);
  }
  EXPECT_EQ(report.composites, (std::vector<std::string>{"nll_loss"}));
  EXPECT_EQ(report.killed + report.survived + report.equivalent, static_cast<int>(report.mutants.size()));
}

TEST(Mutation, AnUnseenMistakeSurvives) {
  const auto ops = all_ops();
  const auto tanh = std::ranges::find(ops, std::string_view("tanh"), &OpInfo::name);
  const auto blind = mutate(std::span(&*tanh, 1), {seed, 60}, [](const Sample& s) {
    passes(s, seed);  // and does not say
    return true;
  });
  EXPECT_EQ(blind.killed, 0);
  EXPECT_EQ(blind.survived, 11);
  const auto late = mutate(std::span(&*tanh, 1), {seed, 1e-9}, passes_here);
  EXPECT_FALSE(late.complete);
  EXPECT_TRUE(late.mutants.empty());
}

// Each mistake is what it says it is.
TEST(Planted, MakesTheMistakes) {
  const Tensor v = tensor({{1, 2, 3}, {4, 5, 6}}, DType::f64);
  const auto gradient = [&](Mistake m, const std::function<Tensor(const Tensor&)>& f, std::string_view op) {
    const Planted planted(op, m);
    Tensor x = tensor({{1, -1, 2}, {0.5, 3, -2}}, DType::f64);
    x.set_requires_grad();
    return grad(f(x), {x}, v)[0].to_vector<double>();
  };
  using Values = std::vector<double>;
  const auto of_neg = [&](Mistake m) { return gradient(m, neg, "neg"); };
  EXPECT_EQ(of_neg(Mistake::zero), (Values{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(of_neg(Mistake::sign), (Values{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(of_neg(Mistake::factor)[5], -6 * (1 + 1e-6));
  EXPECT_EQ(of_neg(Mistake::element), (Values{0, -2, -3, -4, -5, -6}));
  EXPECT_EQ(of_neg(Mistake::transposed), (Values{-1, -4, -2, -5, -3, -6}));
  EXPECT_EQ(of_neg(Mistake::cotangent), (Values{-1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(of_neg(Mistake::row), (Values{-4, -5, -6, -1, -2, -3}));
  EXPECT_EQ(of_neg(Mistake::doubled)[1], -4);
  EXPECT_TRUE(std::isnan(of_neg(Mistake::nan)[3]));
  EXPECT_EQ(of_neg(Mistake::nan)[2], -3);
  EXPECT_EQ(gradient(Mistake::stale, square, "square"), (Values{-2, 8, 3, 24, -20, 12}));
  const auto twice = [](const Tensor& x) {
    const Tensor first = neg(x);
    return x * 3 + first;  // walked from the end: mul, then neg
  };
  EXPECT_EQ(gradient(Mistake::overwritten, twice, "neg")[1], -2);
  EXPECT_EQ(gradient(Mistake::overwritten, twice, "mul")[1], 4);  // the first to come overwrites nothing
  Tensor row = tensor({1, 1, 1}, DType::f64);
  row.set_requires_grad();
  const Planted planted("add", Mistake::broadcast);
  EXPECT_EQ(grad(add(tensor({{1, 2, 3}, {4, 5, 6}}, DType::f64), row), {row}, v)[0].to_vector<double>(),
            (Values{1, 2, 3}));
  EXPECT_EQ(planted.seen().calls, 1);
  EXPECT_EQ(planted.seen().changed, 1);
}

}  // namespace
