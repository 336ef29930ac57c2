// What the documentation promises at infinities, NaN and ties.
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/edges/one_check.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 nan = std::numeric_limits<double>::quiet_NaN();
const double any = Judge::unknown();  // not stated

using Numbers = std::vector<double>;

struct Rule {
  std::string_view op, note;
  std::vector<Tensor> inputs;
  Tensor (*call)(Inputs);
  Numbers value;
  std::vector<Numbers> gradients = {};   ///< for a cotangent of ones; by input
  std::vector<Numbers> curvatures = {};  ///< of each gradient along ones, for the same input
};

Tensor row(std::initializer_list<double> v) { return from_range(Numbers(v)); }
Tensor rows(std::initializer_list<double> v, std::int64_t columns) {
  return reshape(from_range(Numbers(v)), {-1, columns});
}
Tensor mask(std::initializer_list<double> v, std::int64_t columns) {
  return to(rows(v, columns), DType::boolean);
}
Tensor labels(std::initializer_list<double> v) { return to(from_range(Numbers(v)), DType::i64); }

Tensor attend(Inputs x) { return scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3]}); }
Tensor loss(Inputs x) { return cross_entropy(x[0], x[1], {.reduction = Reduction::none}); }

// A NaN gives NaN, and the branch that gave the value gives the derivative.
std::vector<Rule> kinks() {
  return {
      {"relu",
       "NaN",
       {row({nan, -1, 0, 2})},
       [](Inputs x) { return relu(x[0]); },
       {nan, 0, 0, 2},
       {{1, 0, 0, 1}}},
      {"leaky_relu",
       "NaN",
       {row({nan, -1, 2})},
       [](Inputs x) { return leaky_relu(x[0], 0.25); },
       {nan, -0.25, 2},
       {{any, 0.25, 1}}},
      {"clamp",
       "NaN",
       {row({nan, -1, 2, 7})},
       [](Inputs x) { return clamp(x[0], 0, 5); },
       {nan, 0, 2, 5},
       {{1, 0, 1, 0}}},
      {"abs",
       "NaN",
       {row({nan, -inf, inf})},
       [](Inputs x) { return abs(x[0]); },
       {nan, inf, inf},
       {{nan, -1, 1}}},
      {"sign", "NaN", {row({nan, -inf, inf})}, [](Inputs x) { return sign(x[0]); }, {nan, -1, 1}},
      {"maximum",
       "NaN",
       {row({nan, 1, -inf}), row({1, nan, inf})},
       [](Inputs x) { return maximum(x[0], x[1]); },
       {nan, nan, inf},
       {{1, 0, 0}, {0, 1, 1}}},
      {"minimum",
       "NaN",
       {row({nan, 1, -inf}), row({1, nan, inf})},
       [](Inputs x) { return minimum(x[0], x[1]); },
       {nan, nan, -inf},
       {{1, 0, 1}, {0, 1, 0}}},
      {"elu",
       "infinities and NaN",
       {row({-inf, inf, nan})},
       [](Inputs x) { return elu(x[0]); },
       {-1, inf, nan},
       {{0, 1, any}}},
      {"where",
       "NaN that is not chosen",
       {mask({1, 0}, 2), rows({1, nan}, 2), rows({nan, 2}, 2)},
       [](Inputs x) { return where(x[0], x[1], x[2]); },
       {1, 2},
       {{}, {1, 0}, {0, 1}}},
      {"sqrt", "0", {row({0})}, [](Inputs x) { return sqrt(x[0]); }, {0}, {{inf}}},
      {"log", "0", {row({0, inf})}, [](Inputs x) { return log(x[0]); }, {-inf, inf}, {{inf, 0}}},
      {"pow",
       "base 0",
       {row({0, 0, 0, 0}), row({0, 1, 2, 3})},
       [](Inputs x) { return pow(x[0], x[1]); },
       {1, 0, 0, 0},
       {{0, 1, 0, 0}, {any, 0, 0, 0}},
       {{0, 0, 2, 0}, {}}},
      {"pow_scalar", "0 squared", {row({0})}, [](Inputs x) { return pow(x[0], 2); }, {0}, {{0}}, {{2}}},
      {"div",
       "infinities",
       {row({1, inf, inf}), row({inf, 2, inf})},
       [](Inputs x) { return x[0] / x[1]; },
       {0, inf, nan},
       {{0, 0.5, 0}, {0, -inf, any}}},
  };
}

// NaN is larger and smaller than all numbers; equal extremes share the gradient, or the first has it.
std::vector<Rule> reductions() {
  return {
      {"amax",
       "NaN",
       {rows({1, nan, 2, nan, 0, nan}, 3)},
       [](Inputs x) { return amax(x[0], {1}); },
       {nan, nan},
       {{0, 1, 0, .5, 0, .5}}},
      {"amin",
       "NaN",
       {rows({1, nan, 2, nan, 0, nan}, 3)},
       [](Inputs x) { return amin(x[0], {1}); },
       {nan, nan},
       {{0, 1, 0, .5, 0, .5}}},
      {"max",
       "NaN",
       {rows({1, nan, 2, nan, 0, nan}, 3)},
       [](Inputs x) { return max(x[0], {1}); },
       {nan, nan},
       {{0, 1, 0, 1, 0, 0}}},
      {"min",
       "NaN",
       {rows({1, nan, 2, nan, 0, nan}, 3)},
       [](Inputs x) { return min(x[0], {1}); },
       {nan, nan},
       {{0, 1, 0, 1, 0, 0}}},
      {"argmax", "NaN", {rows({1, nan, 2}, 3)}, [](Inputs x) { return argmax(x[0], 1); }, {1}},
      {"max_pool2d",
       "NaN",
       {reshape(row({1, nan, 2, 0}), {1, 1, 2, 2})},
       [](Inputs x) {
         return max_pool2d(x[0], {2, 2});
       },
       {nan},
       {{0, 1, 0, 0}}},
      {"norm",
       "squared, at 0",
       {row({0, 0})},
       [](Inputs x) { return square(norm(x[0])); },
       {0},
       {{0, 0}},
       {{2, 2}}},
      {"norm", "p 2 at 0", {row({0, 0})}, [](Inputs x) { return norm(x[0]); }, {0}, {{0, 0}}},
      {"norm",
       "infinities",
       {rows({inf, 1, -inf, inf}, 2)},
       [](Inputs x) { return norm(x[0], 2, {1}); },
       {inf, inf}},
      {"norm", "p infinity, NaN", {rows({nan, 1}, 2)}, [](Inputs x) { return norm(x[0], inf, {1}); }, {nan}},
      {"std", "equal", {row({3, 3, 3})}, [](Inputs x) { return std_dev(x[0]); }, {0}, {{0, 0, 0}}},
      {"logsumexp",
       "infinities",
       {rows({-inf, 0, -inf, -inf, inf, 0}, 2)},
       [](Inputs x) { return logsumexp(x[0], {1}); },
       {0, -inf, inf},
       {{0, 1, any, any, any, any}}},
      {"layer_norm",
       "equal",
       {rows({3, 3, 3}, 3)},
       [](Inputs x) { return layer_norm(x[0], {3}); },
       {0, 0, 0},
       {{0, 0, 0}}},
  };
}

// -inf is exactly 0 of a softmax; a row of -inf alone, or with +inf or NaN, is NaN; a row of attention that
// may look at nothing is 0.
std::vector<Rule> softmaxes() {
  return {
      {"softmax",
       "infinities and NaN",
       {rows({-inf, 0, -inf, -inf, inf, 0, nan, 0}, 2)},
       [](Inputs x) { return softmax(x[0], 1); },
       {0, 1, nan, nan, nan, nan, nan, nan},
       {{0, 0, nan, nan, nan, nan, nan, nan}}},
      {"log_softmax",
       "infinities and NaN",
       {rows({-inf, 0, -inf, -inf, nan, 0}, 2)},
       [](Inputs x) { return log_softmax(x[0], 1); },
       {-inf, 0, nan, nan, nan, nan}},
      {"scaled_dot_product_attention",
       "nothing to see",
       {rows({1, 2, 3, 4}, 2), rows({1, 0, 0, 1}, 2), rows({5, 6, 7, 8}, 2), mask({0, 0, 0, 0}, 2)},
       attend,
       {0, 0, 0, 0},
       {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}},
      {"scaled_dot_product_attention",
       "nothing to see, beside a row that sees one key",
       {rows({1, 2, 3, 4}, 2), rows({1, 0, 0, 1}, 2), rows({5, 6, 7, 8}, 2), mask({0, 0, 1, 0}, 2)},
       attend,
       {0, 0, 5, 6},
       {{0, 0, 0, 0}, {0, 0, 0, 0}, {1, 1, 0, 0}}},
      {"scaled_dot_product_attention",
       "nothing to see, by -inf",
       {rows({1, 2}, 2), rows({1, 0, 0, 1}, 2), rows({5, 6, 7, 8}, 2), rows({-inf, -inf}, 2)},
       attend,
       {0, 0},
       {{0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}},
      {"cross_entropy",
       "-inf",
       {rows({-inf, 0, -inf, 0}, 2), labels({1, 0})},
       loss,
       {0, inf},
       {{0, 0, any, any}}},
      {"kl_div",
       "target 0",
       {row({-inf, -1, 0}), row({0, 0, 0})},
       [](Inputs x) { return kl_div(x[0], x[1], Reduction::none); },
       {0, 0, 0},
       {{0, 0, 0}}},
      {"binary_cross_entropy_with_logits",
       "sure and right",
       {row({inf, -inf}), row({1, 0})},
       [](Inputs x) { return binary_cross_entropy_with_logits(x[0], x[1], Reduction::none); },
       {0, 0},
       {{0, 0}}},
      {"binary_cross_entropy_with_logits",
       "sure and wrong",
       {row({inf, -inf}), row({0, 1})},
       [](Inputs x) { return binary_cross_entropy_with_logits(x[0], x[1], Reduction::none); },
       {inf, inf},
       {{1, -1}}},
  };
}

std::vector<Rule> all_rules() {
  auto all = kinks();
  for (auto more : {reductions(), softmaxes()}) all.insert(all.end(), more.begin(), more.end());
  return all;
}

GradcheckReport check(const Rule& rule, const EdgeOptions& options) {
  Question q{rule.call, {}, options.dtype};
  for (const Tensor& t : rule.inputs)
    q.inputs.push_back(t && is_floating(t.dtype()) ? to(t, options.dtype) : t);
  q.ones = true;
  q.orders = !rule.curvatures.empty() ? 2 : !rule.gradients.empty() ? 1 : 0;
  const auto got = evaluate(q, options.dtype, options.device);
  auto want = got;
  for (Part& p : want) {
    const auto k = static_cast<std::size_t>(p.input);
    if (p.order == 0)
      p.values = rule.value;
    else if (p.order == 1 && k < rule.gradients.size() && !rule.gradients[k].empty())
      p.values = rule.gradients[k];
    else if (p.order == 2 && p.input == p.of && k < rule.curvatures.size() && !rule.curvatures[k].empty())
      p.values = rule.curvatures[k];
    else
      p.values.assign(p.values.size(), any);
    if (p.values.size() != static_cast<std::size_t>(numel(p.shape)))
      fail<ShapeError>("gradcheck --edges: the rule '", rule.note, "' of ", rule.op,
                       " has another number of elements");
  }
  Judge judge(options.dtype, true, {4, 4, true});
  judge(got, want, "cotangents of ones");
  auto report = std::move(judge).report();
  for (auto& m : report.mismatches) m.oracle = "documented";
  return report;
}

}  // namespace

std::vector<CheckResult> check_rules(const OpInfo& op, const EdgeOptions& options) {
  std::vector<CheckResult> out;
  for (const Rule& rule : all_rules())
    if (rule.op == op.name && matches(options.sample, rule.note))
      out.push_back(one_check(op, rule.note, "rules", options, [&] { return check(rule, options); }));
  return out;
}

std::vector<std::string> operations_with_rules() {
  std::vector<std::string> names;
  for (const Rule& rule : all_rules())
    if (names.empty() || names.back() != rule.op) names.emplace_back(rule.op);
  return names;
}

}  // namespace bobbin::gradcheck_detail
