// ONNX's products, softmax family, normalisations, losses and recurrent layers.
#include <bobbin/elementwise.h>
#include <bobbin/loss.h>
#include <bobbin/matmul.h>
#include <bobbin/norm.h>
#include <bobbin/reduce.h>
#include <bobbin/rnn.h>
#include <bobbin/softmax.h>
#include <bobbin/view.h>

#include "tests/onnx/operators.h"

namespace tests::onnx {
namespace {

using namespace bobbin;
using Tensors = std::vector<Tensor>;

// Until opset 13, softmax is over all axes from `axis` on.
template<class F>
Rule rows(F f) {
  return [f](const Call& c) -> Tensors {
    const auto axis = static_cast<int>(c.node.integer("axis", c.opset < 13 ? 1 : -1));
    if (c.opset >= 13) return {f(c[0], axis)};
    std::int64_t outer = 1;
    for (int i = 0; i < (axis + c[0].rank()) % c[0].rank(); ++i) outer *= c[0].size(i);
    return {reshape(f(reshape(c[0], {outer, c[0].numel() / outer}), 1), c[0].shape())};
  };
}

Tensors gemm(const Call& c) {
  const Tensor a = c.node.integer("transA", 0) ? transpose(c[0]) : c[0],
               b = c.node.integer("transB", 0) ? c[1] : transpose(c[1]);
  const double alpha = c.node.number("alpha", 1), beta = c.node.number("beta", 1);
  const Tensor bias = c.at(2);
  const Tensor y = linear(alpha == 1 ? a : a * alpha, b);
  return {bias ? y + bias * beta : y};
}

Tensors layer_norms(const Call& c) {
  const int rank = c[0].rank(), axis = static_cast<int>(c.node.integer("axis", -1));
  Ints over;
  for (int i = axis < 0 ? axis + rank : axis; i < rank; ++i) over.push_back(c[0].size(i));
  return {layer_norm(c[0], dims(over), reshape(c[1], dims(over)),
                     c.at(2) ? reshape(c.at(2), dims(over)) : Tensor(), c.node.number("epsilon", 1e-5))};
}

Tensors rms_norms(const Call& c) {
  const int rank = c[0].rank(), axis = static_cast<int>(c.node.integer("axis", -1));
  Ints over;
  for (int i = axis < 0 ? axis + rank : axis; i < rank; ++i) over.push_back(c[0].size(i));
  return {rms_norm(c[0], dims(over), reshape(expand(c[1], dims(over)), dims(over)),
                   c.node.number("epsilon", 1e-5))};
}

Tensors batch_norms(const Call& c) {
  require(c.node.integer("training_mode", 0) == 0, "BatchNormalization in training");
  return {batch_norm(c[0], c[3], c[4], c[1], c[2], {.eps = c.node.number("epsilon", 1e-5)})};
}

CrossEntropyOptions options(const Call& c) {
  const std::string reduction = c.node.text("reduction", "mean");
  CrossEntropyOptions o{.weight = c.at(2)};
  o.reduction = reduction == "mean" ? Reduction::mean : reduction == "sum" ? Reduction::sum : Reduction::none;
  if (c.node.has("ignore_index")) o.ignore_index = c.node.integer("ignore_index", 0);
  return o;
}

// W_ih, W_hh and both biases of a cell whose gates are in ONNX's order, put into Bobbin's.
template<class Cell>
Cell cell_of(const Call& c, const Ints& order) {
  const std::int64_t hidden = c.node.integer("hidden_size", 0);
  require(c[1].size(0) == 1 && c.node.text("direction", "forward") == "forward", "other directions");
  require(!c.at(4) && !c.at(7) && !c.node.has("clip") && !c.node.has("activations"),
          "options of recurrent layers");
  const auto sorted = [&](const Tensor& t) {
    Tensors gates;
    for (const auto gate : order) gates.push_back(narrow(t, 0, gate * hidden, hidden));
    return concat(gates);
  };
  Cell cell(c[1].size(2), hidden);
  const auto gates = static_cast<std::int64_t>(order.size());
  const Tensor biases = c.at(3) ? select(c.at(3), 0, 0) : zeros({2 * gates * hidden});
  cell.weight_ih = sorted(select(c[1], 0, 0));
  cell.weight_hh = sorted(select(c[2], 0, 0));
  cell.bias_ih = sorted(narrow(biases, 0, 0, gates * hidden));
  cell.bias_hh = sorted(narrow(biases, 0, gates * hidden, gates * hidden));
  return cell;
}

template<class Cell>
Rule recurrent(Ints order) {
  return [order](const Call& c) -> Tensors {
    if (order.size() == 3) require(c.node.integer("linear_before_reset", 0) != 0, "GRU that resets first");
    const Cell cell = cell_of<Cell>(c, order);
    const bool batch_first = c.node.integer("layout", 0) != 0;
    const Tensor x = batch_first ? transpose(c[0], 0, 1) : c[0];
    const auto state = [&](std::size_t i) {
      return c.at(i) ? select(c.at(i), batch_first ? 1 : 0, 0) : Tensor();
    };
    nn::RecurrentState s{state(5), state(6)};
    Tensors steps;
    for (std::int64_t t = 0; t < x.size(0); ++t) {
      s = cell(select(x, 0, t), s);
      steps.push_back(s.h);
    }
    const int direction = batch_first ? 1 : 0;
    const Tensor all = batch_first ? unsqueeze(stack(steps, 1), 2) : unsqueeze(stack(steps), 1);
    Tensors out{all, unsqueeze(s.h, direction)};
    if (s.c) out.push_back(unsqueeze(s.c, direction));
    return out;
  };
}

}  // namespace

void add_layers(Rules& r) {
  r["MatMul"] = [](const Call& c) -> Tensors { return {matmul(c[0], c[1])}; };
  r["Gemm"] = gemm;
  r["Softmax"] = rows([](const Tensor& x, int axis) { return softmax(x, axis); });
  r["LogSoftmax"] = rows([](const Tensor& x, int axis) { return log_softmax(x, axis); });
  r["LayerNormalization"] = layer_norms;
  r["RMSNormalization"] = rms_norms;
  r["BatchNormalization"] = batch_norms;
  r["InstanceNormalization"] = [](const Call& c) -> Tensors {
    return {group_norm(c[0], c[0].size(1), c[1], c[2], c.node.number("epsilon", 1e-5))};
  };
  r["GroupNormalization"] = [](const Call& c) -> Tensors {
    require(c.opset >= 21, "GroupNormalization with one weight a group");
    return {group_norm(c[0], c.node.integer("num_groups", 1), c[1], c[2], c.node.number("epsilon", 1e-5))};
  };
  r["SoftmaxCrossEntropyLoss"] = [](const Call& c) -> Tensors {
    return {cross_entropy(c[0], to(c[1], DType::i64), options(c)), log_softmax(c[0], 1)};
  };
  r["NegativeLogLikelihoodLoss"] = [](const Call& c) -> Tensors {
    return {nll_loss(c[0], to(c[1], DType::i64), options(c))};
  };
  r["RNN"] = recurrent<nn::RNNCell>({0});
  r["LSTM"] = recurrent<nn::LSTMCell>({0, 2, 3, 1});
  r["GRU"] = recurrent<nn::GRUCell>({1, 0, 2});
}

}  // namespace tests::onnx
