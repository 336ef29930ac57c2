// Recurrent cells and layers.
#include "autograd/nn/rnn.h"

#include <bobbin/dropout.h>
#include <bobbin/elementwise.h>
#include <bobbin/matmul.h>
#include <bobbin/random.h>
#include <bobbin/rnn.h>
#include <bobbin/view.h>

#include <cmath>

namespace bobbin::nn {
namespace {

template<class Cell>
constexpr RecurrentKind kind_of = RecurrentKind::rnn;
template<>
constexpr RecurrentKind kind_of<LSTMCell> = RecurrentKind::lstm;
template<>
constexpr RecurrentKind kind_of<GRUCell> = RecurrentKind::gru;

// Gate i of [n, count hidden].
Tensor gate(const Tensor& all, std::int64_t i, std::int64_t count) {
  const std::int64_t hidden = all.size(-1) / count;
  return narrow(all, -1, i * hidden, hidden);
}

// The state, with zeros instead of undefined tensors.
RecurrentState started(const RecurrentState& s, const Tensor& projected, std::int64_t hidden) {
  const auto given = [&](const Tensor& t) {
    return t ? t : zeros({projected.size(0), hidden}, projected.dtype(), projected.device());
  };
  return {given(s.h), given(s.c)};
}

}  // namespace

RecurrentCell::RecurrentCell(std::string_view name, std::int64_t in, std::int64_t hidden,
                             std::int64_t gates) {
  if (in < 1 || hidden < 1)
    fail<ValueError>(name, ": expected sizes of at least 1; got ", in, " and ", hidden);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  const auto drawn = [&](const Shape& s) { return uniform(s, -bound, bound).set_requires_grad(); };
  weight_ih = drawn({gates * hidden, in});
  weight_hh = drawn({gates * hidden, hidden});
  bias_ih = drawn({gates * hidden});
  bias_hh = drawn({gates * hidden});
}

Tensor RecurrentCell::project(const Tensor& x) const { return linear(x, weight_ih, bias_ih); }
Tensor RecurrentCell::recur(const Tensor& h) const { return linear(h, weight_hh, bias_hh); }

RecurrentState RNNCell::next(const Tensor& projected, const RecurrentState& state) const {
  return {tanh(projected + recur(started(state, projected, hidden()).h)), {}};
}

RecurrentState LSTMCell::next(const Tensor& projected, const RecurrentState& state) const {
  const RecurrentState s = started(state, projected, hidden());
  const Tensor gates = projected + recur(s.h);
  const Tensor c = sigmoid(gate(gates, 1, 4)) * s.c + sigmoid(gate(gates, 0, 4)) * tanh(gate(gates, 2, 4));
  return {sigmoid(gate(gates, 3, 4)) * tanh(c), c};
}

RecurrentState GRUCell::next(const Tensor& projected, const RecurrentState& state) const {
  const RecurrentState s = started(state, projected, hidden());
  const Tensor past = recur(s.h);
  const Tensor r = sigmoid(gate(projected, 0, 3) + gate(past, 0, 3));
  const Tensor z = sigmoid(gate(projected, 1, 3) + gate(past, 1, 3));
  const Tensor n = tanh(gate(projected, 2, 3) + r * gate(past, 2, 3));
  return {n + z * (s.h - n), {}};
}

template<class Cell>
Recurrent<Cell>::Recurrent(std::int64_t in, std::int64_t hidden, const RecurrentOptions& o) : options(o) {
  if (o.layers < 1) fail<ValueError>("Recurrent: expected at least 1 layer; got ", o.layers);
  if (!(o.dropout >= 0 && o.dropout < 1))
    fail<ValueError>("Recurrent: expected 0 <= dropout < 1; got ", o.dropout);
  const std::int64_t directions = o.bidirectional ? 2 : 1;
  for (std::int64_t layer = 0; layer < o.layers; ++layer)
    for (std::int64_t d = 0; d < directions; ++d)
      cells.emplace_back(layer == 0 ? in : hidden * directions, hidden);
}

template<class Cell>
RecurrentOutput Recurrent<Cell>::operator()(const Tensor& x, const std::vector<RecurrentState>& first) const {
  if (x.rank() != 3 || x.size(1) < 1 || x.size(2) != cells[0].weight_ih.size(1))
    fail<ShapeError>("Recurrent: expected x [n, length, ", cells[0].weight_ih.size(1), "]; got ", x.spec());
  if (!first.empty() && first.size() != cells.size())
    fail<ShapeError>("Recurrent: expected ", cells.size(), " first states, or none; got ", first.size());
  const std::int64_t length = x.size(1);
  const std::size_t directions = options.bidirectional ? 2 : 1;
  RecurrentOutput out{x, {}};
  for (std::size_t layer = 0; layer < cells.size(); layer += directions) {
    if (layer > 0 && training && options.dropout > 0) out.y = dropout(out.y, options.dropout);
    std::vector<Tensor> ways, in{out.y}, results(1);
    for (std::size_t d = 0; d < directions; ++d) {
      const Cell& cell = cells[layer + d];
      const Tensor projected = cell.project(out.y);
      RecurrentState s = first.empty() ? RecurrentState{} : first[layer + d];
      in.insert(in.end(), {cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, s.h, s.c});
      std::vector<Tensor> steps(static_cast<std::size_t>(length));
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int64_t t = d == 0 ? i : length - 1 - i;
        s = cell.next(select(projected, 1, t), s);
        steps[static_cast<std::size_t>(t)] = s.h;
      }
      ways.push_back(stack(steps, 1));
      out.last.push_back(s);
      results.insert(results.end(), {s.h, s.c});
    }
    out.y = results[0] = directions == 1 ? ways[0] : concat(ways, 2);
    bobbin::detail::composed(RecurrentLayer(kind_of<Cell>), in, results);
  }
  return out;
}

template<class Cell>
void Recurrent<Cell>::each(Visit& v) {
  const std::size_t directions = options.bidirectional ? 2 : 1;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string end = "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : "");
    v("weight_ih" + end, cells[i].weight_ih), v("weight_hh" + end, cells[i].weight_hh);
    v("bias_ih" + end, cells[i].bias_ih), v("bias_hh" + end, cells[i].bias_hh);
  }
  v.mode(training);
}

template struct Recurrent<RNNCell>;
template struct Recurrent<LSTMCell>;
template struct Recurrent<GRUCell>;

}  // namespace bobbin::nn
