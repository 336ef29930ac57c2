// Recurrent layers: cells that make one step, and layers that make all steps of a sequence. Weights have
// PyTorch's names, shapes and order of gates, and are drawn uniformly from +-1/sqrt(hidden). Sizes below 1
// throw ValueError.
#pragma once
#include <bobbin/module.h>

#include <vector>

namespace bobbin::nn {

/// What goes from step to step: [n, hidden] each; c in an LSTM alone. Undefined tensors stand for zeros.
struct RecurrentState {
  Tensor h, c;
};

/// The weights of a cell of some gates: [gates hidden, in], [gates hidden, hidden] and twice [gates hidden].
struct RecurrentCell {
  Tensor weight_ih, weight_hh, bias_ih, bias_hh;
  void each(Visit& v) {
    v("weight_ih", weight_ih), v("weight_hh", weight_hh), v("bias_ih", bias_ih), v("bias_hh", bias_hh);
  }
  std::int64_t hidden() const { return weight_hh.size(1); }
  /// What x [..., in] gives to all gates, for all steps at once.
  Tensor project(const Tensor& x) const;

 protected:
  RecurrentCell(std::string_view name, std::int64_t in, std::int64_t hidden, std::int64_t gates);
  Tensor recur(const Tensor& h) const;
};

/// h' = tanh(W_ih x + b_ih + W_hh h + b_hh).
struct RNNCell : RecurrentCell {
  RNNCell(std::int64_t in, std::int64_t hidden) : RecurrentCell("RNNCell", in, hidden, 1) {}
  /// x [n, in] -> the next state.
  RecurrentState operator()(const Tensor& x, const RecurrentState& s = {}) const {
    return next(project(x), s);
  }
  /// The same for an x that was projected.
  RecurrentState next(const Tensor& projected, const RecurrentState&) const;
};

/// i, f, o = sigmoid, g = tanh of W_ih x + b_ih + W_hh h + b_hh;  c' = f c + i g;  h' = o tanh(c')
/// (Hochreiter and Schmidhuber, Neural Computation 9, 1997; Gers et al., 2000). Gates are in the order i, f,
/// g, o.
struct LSTMCell : RecurrentCell {
  LSTMCell(std::int64_t in, std::int64_t hidden) : RecurrentCell("LSTMCell", in, hidden, 4) {}
  RecurrentState operator()(const Tensor& x, const RecurrentState& s = {}) const {
    return next(project(x), s);
  }
  RecurrentState next(const Tensor& projected, const RecurrentState&) const;
};

/// r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));
/// h' = (1 - z) n + z h (Cho et al., arXiv:1406.1078). Gates are in the order r, z, n.
struct GRUCell : RecurrentCell {
  GRUCell(std::int64_t in, std::int64_t hidden) : RecurrentCell("GRUCell", in, hidden, 3) {}
  RecurrentState operator()(const Tensor& x, const RecurrentState& s = {}) const {
    return next(project(x), s);
  }
  RecurrentState next(const Tensor& projected, const RecurrentState&) const;
};

struct RecurrentOptions {
  std::int64_t layers = 1;     ///< each reads what the one before gives
  bool bidirectional = false;  ///< another cell a layer goes from the end to the start
  double dropout = 0;          ///< on what goes from layer to layer, while training
};

/// What a recurrent layer makes of [n, length, in].
struct RecurrentOutput {
  Tensor y;  ///< h of the last layer at each step: [n, length, hidden], or both directions' beside each other
  std::vector<RecurrentState> last;  ///< one a layer, or two: forwards, backwards
};

template<class Cell>
struct Recurrent {
  Recurrent(std::int64_t in, std::int64_t hidden, const RecurrentOptions& = {});
  /// x [n, length, in]; `first` is empty, or one state for each of `cells`. Throws ShapeError.
  RecurrentOutput operator()(const Tensor& x, const std::vector<RecurrentState>& first = {}) const;
  /// "weight_ih_l0", ..., "bias_hh_l1_reverse".
  void each(Visit&);
  std::vector<Cell> cells;  ///< in the order of RecurrentOutput::last
  RecurrentOptions options;
  bool training = true;
};
using RNN = Recurrent<RNNCell>;
using LSTM = Recurrent<LSTMCell>;
using GRU = Recurrent<GRUCell>;
extern template struct Recurrent<RNNCell>;
extern template struct Recurrent<LSTMCell>;
extern template struct Recurrent<GRUCell>;

}  // namespace bobbin::nn
