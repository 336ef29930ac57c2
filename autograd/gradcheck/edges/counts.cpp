// Reductions, losses and norms of more elements than f16 counts.
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <limits>

#include "autograd/gradcheck/edges/judge.h"
#include "autograd/gradcheck/edges/kinds.h"
#include "autograd/gradcheck/edges/one_check.h"

namespace bobbin::gradcheck_detail {
namespace {

constexpr std::int64_t many = 70'000;  // f16 ends at 65,504
constexpr double inf = std::numeric_limits<double>::infinity();

struct Counted {
  std::string_view op, note;
  std::vector<Tensor> (*inputs)();
  Tensor (*call)(Inputs);
};

Tensor numbers(const Shape& s) { return uniform(s, -2, 2, DType::f64); }
std::vector<Tensor> one() { return {numbers({many})}; }
std::vector<Tensor> pair() { return {numbers({many}), numbers({many})}; }
std::vector<Tensor> probabilities() { return {numbers({many}), uniform({many}, 0.1, 0.9, DType::f64)}; }
std::vector<Tensor> ties() { return {ones({many}, DType::f64)}; }
std::vector<Tensor> rows() { return {numbers({many, 2}), randint(0, 2, {many})}; }
std::vector<Tensor> head() { return {numbers({many, 2}), numbers({3, 2}), randint(0, 3, {many})}; }
std::vector<Tensor> columns() { return {numbers({many, 2})}; }
std::vector<Tensor> affine() { return {numbers({2, many}), numbers({many}), numbers({many})}; }
std::vector<Tensor> channels() { return {numbers({many, 2}), numbers({2}), numbers({2})}; }
std::vector<Tensor> grouped() { return {numbers({1, 2, many}), numbers({2}), numbers({2})}; }
std::vector<Tensor> image() { return {numbers({1, 1, 265, 265})}; }
std::vector<Tensor> keys() { return {numbers({1, 2}), numbers({many, 2}), numbers({many, 2})}; }

Tensor by_batch(Inputs x) {
  return batch_norm(x[0], zeros({2}, x[0].dtype(), x[0].device()), ones({2}, x[0].dtype(), x[0].device()),
                    x[1], x[2], {.training = true});
}

constexpr Counted table[] = {
    {"mean", "all", one, [](Inputs x) { return mean(x[0]); }},
    {"mean", "first axis", columns, [](Inputs x) { return mean(x[0], {0}); }},
    {"sum", "all", one, [](Inputs x) { return sum(x[0]); }},
    {"var", "all", one, [](Inputs x) { return var(x[0]); }},
    {"var", "first axis", columns, [](Inputs x) { return var(x[0], {0}); }},
    {"std", "all", one, [](Inputs x) { return std_dev(x[0]); }},
    {"amax", "ties", ties, [](Inputs x) { return amax(x[0]); }},
    {"amin", "ties", ties, [](Inputs x) { return amin(x[0]); }},
    {"max", "ties", ties, [](Inputs x) { return max(x[0]); }},
    {"min", "ties", ties, [](Inputs x) { return min(x[0]); }},
    {"norm", "p 1", one, [](Inputs x) { return norm(x[0], 1); }},
    {"norm", "p 2", one, [](Inputs x) { return norm(x[0], 2); }},
    {"norm", "p 3", one, [](Inputs x) { return norm(x[0], 3); }},
    {"norm", "p infinity, ties", ties, [](Inputs x) { return norm(x[0], inf); }},
    {"logsumexp", "all", one, [](Inputs x) { return logsumexp(x[0]); }},
    {"softmax", "one row", one, [](Inputs x) { return softmax(x[0]); }},
    {"masked_softmax", "one row", one, [](Inputs x) { return masked_softmax(x[0], {}); }},
    {"log_softmax", "one row", one, [](Inputs x) { return log_softmax(x[0]); }},
    {"cross_entropy", "mean", rows, [](Inputs x) { return cross_entropy(x[0], x[1]); }},
    {"cross_entropy", "smoothing", rows,
     [](Inputs x) { return cross_entropy(x[0], x[1], {.label_smoothing = .2}); }},
    {"linear_cross_entropy", "mean", head, [](Inputs x) { return linear_cross_entropy(x[0], x[1], x[2]); }},
    {"nll_loss", "mean", rows, [](Inputs x) { return nll_loss(x[0], x[1]); }},
    {"mse_loss", "mean", pair, [](Inputs x) { return mse_loss(x[0], x[1]); }},
    {"l1_loss", "mean", pair, [](Inputs x) { return l1_loss(x[0], x[1]); }},
    {"huber_loss", "mean", pair, [](Inputs x) { return huber_loss(x[0], x[1]); }},
    {"binary_cross_entropy_with_logits", "mean", probabilities,
     [](Inputs x) { return binary_cross_entropy_with_logits(x[0], x[1]); }},
    {"kl_div", "mean", probabilities, [](Inputs x) { return kl_div(x[0], x[1]); }},
    {"layer_norm", "two rows", affine, [](Inputs x) { return layer_norm(x[0], {many}, x[1], x[2]); }},
    {"rms_norm", "two rows", affine, [](Inputs x) { return rms_norm(x[0], {many}, x[1]) + x[2]; }},
    {"group_norm", "one group", grouped, [](Inputs x) { return group_norm(x[0], 1, x[1], x[2]); }},
    {"batch_norm", "rows", channels, by_batch},
    {"avg_pool2d", "one window", image,
     [](Inputs x) {
       return avg_pool2d(x[0], {265, 265});
     }},
    {"cumsum", "all", one, [](Inputs x) { return cumsum(x[0], 0); }},
    {"scaled_dot_product_attention", "one query", keys,
     [](Inputs x) { return scaled_dot_product_attention(x[0], x[1], x[2]); }},
};

GradcheckReport check(const Counted& entry, const EdgeOptions& options) {
  manual_seed(options.seed);
  Question q{entry.call, {}, options.dtype};
  q.seed = options.seed;
  for (const Tensor& t : entry.inputs())
    q.inputs.push_back(is_floating(t.dtype()) ? to(t, options.dtype) : t);
  // In f64, what the results are compared with was added in f64 itself.
  const double own = options.dtype == DType::f64 ? 256 : 16;
  Judge judge(options.dtype, false,
              allowed_for(entry.op, options.device, {own, options.dtype == DType::f32 ? 256. : own}));
  judge.nudged_by([&](std::uint64_t signs) { return nudged(q, entry.op, signs); });
  judge(evaluate(q, options.dtype, options.device), evaluate(q, DType::f64, Device::cpu()),
        fmt::format("{} elements", many));
  return std::move(judge).report();
}

}  // namespace

std::vector<CheckResult> check_counts(const OpInfo& op, const EdgeOptions& options) {
  std::vector<CheckResult> out;
  if (options.dtype == DType::f64 && options.device.is_cpu())
    return out;  // it is what the others compare with
  for (const Counted& entry : table)
    if (entry.op == op.name && matches(options.sample, entry.note))
      out.push_back(one_check(op, entry.note, "counts", options, [&] { return check(entry, options); }));
  return out;
}

std::vector<std::string> counted_operations() {
  std::vector<std::string> names;
  for (const Counted& entry : table)
    if (names.empty() || names.back() != entry.op) names.emplace_back(entry.op);
  return names;
}

}  // namespace bobbin::gradcheck_detail
