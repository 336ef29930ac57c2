// ONNX's reductions, running sums and indices of extremes.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include "tests/onnx/operators.h"

namespace tests::onnx {
namespace {

using namespace bobbin;

// A reduction f(x, axes, keepdim). Its axes are an input or an attribute.
template<class F>
Rule reduction(F f, bool integers = false) {
  return [f, integers](const Call& c) -> std::vector<Tensor> {
    require(integers || is_floating(c[0].dtype()), c.node.type + " of integers");
    const Ints axes = c.list(1, "axes");
    if (axes.empty() && c.node.integer("noop_with_empty_axes", 0) != 0) return {c[0]};
    return {to(f(c[0], dims(axes), c.node.integer("keepdims", 1) != 0), c[0].dtype())};
  };
}

template<class F>
Rule arg_extreme(F f) {
  return [f](const Call& c) -> std::vector<Tensor> {
    require(c.node.integer("select_last_index", 0) == 0, "the last index of equal extremes");
    return {f(c[0], static_cast<int>(c.node.integer("axis", 0)), c.node.integer("keepdims", 1) != 0)};
  };
}

}  // namespace

void add_reductions(Rules& r) {
  using T = const Tensor&;
  using A = const Axes&;
  r["ReduceSum"] = reduction([](T x, A over, bool keep) { return sum(x, over, keep); }, true);
  r["ReduceMean"] = reduction([](T x, A over, bool keep) { return mean(x, over, keep); });
  r["ReduceMax"] = reduction([](T x, A over, bool keep) { return amax(x, over, keep); }, true);
  r["ReduceMin"] = reduction([](T x, A over, bool keep) { return amin(x, over, keep); }, true);
  r["ReduceL1"] = reduction([](T x, A over, bool keep) { return norm(x, 1, over, keep); });
  r["ReduceL2"] = reduction([](T x, A over, bool keep) { return norm(x, 2, over, keep); });
  r["ReduceLogSum"] = reduction([](T x, A over, bool keep) { return log(sum(x, over, keep)); });
  r["ReduceLogSumExp"] = reduction([](T x, A over, bool keep) { return logsumexp(x, over, keep); });
  r["ReduceSumSquare"] = reduction([](T x, A over, bool keep) { return sum(square(x), over, keep); });
  r["ArgMax"] = arg_extreme([](T x, int axis, bool keep) { return argmax(x, axis, keep); });
  r["ArgMin"] = arg_extreme([](T x, int axis, bool keep) { return argmin(x, axis, keep); });
  r["CumSum"] = [](const Call& c) -> std::vector<Tensor> {
    const Tensor y =
        to(cumsum(c[0], static_cast<int>(c[1].item()), c.node.integer("reverse", 0) != 0), c[0].dtype());
    return {c.node.integer("exclusive", 0) != 0 ? y - c[0] : y};
  };
  r["Hardmax"] = [](const Call& c) -> std::vector<Tensor> {
    const int axis = static_cast<int>(c.node.integer("axis", -1));
    return {movedim(one_hot(argmax(c[0], axis), c[0].size(axis), c[0].dtype()), -1, axis)};
  };
  r["LpNormalization"] = [](const Call& c) -> std::vector<Tensor> {
    const Axes axis{c.node.integer("axis", -1)};
    return {c[0] / norm(c[0], static_cast<double>(c.node.integer("p", 2)), axis, true)};
  };
  r["MeanVarianceNormalization"] = [](const Call& c) -> std::vector<Tensor> {
    const Axes axes = dims(c.node.integers("axes", {0, 2, 3}));
    return {(c[0] - mean(c[0], axes, true)) / (bobbin::std(c[0], axes, 0, true) + 1e-9)};
  };
}

}  // namespace tests::onnx
