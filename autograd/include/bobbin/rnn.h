// Recurrent layers: cells that make one step, and layers that make all steps of a sequence. Weights have
// PyTorch's names, shapes and order of gates, and are drawn uniformly from +-1/sqrt(hidden). Sizes below 1
// throw ValueError.
#pragma once
#include <bobbin/module.h>

#include <vector>

namespace bobbin::nn {

/// What goes from step to step: [n, hidden] each; c in an LSTM alone. Undefined tensors stand for zeros.
struct RecurrentState {
  Tensor h;  ///< what the layer shows
  Tensor c;  ///< what it keeps to itself
};

/// The weights of a cell of some gates.
struct RecurrentCell {
  Tensor weight_ih;  ///< [gates hidden, in]
  Tensor weight_hh;  ///< [gates hidden, hidden]
  Tensor bias_ih;    ///< [gates hidden]
  Tensor bias_hh;    ///< [gates hidden]
  /// Names the weights.
  void each(Visit& v) {
    v("weight_ih", weight_ih), v("weight_hh", weight_hh), v("bias_ih", bias_ih), v("bias_hh", bias_hh);
  }
  /// The numbers in a state.
  std::int64_t hidden() const { return weight_hh.size(1); }
  /// What x [..., in] gives to all gates, for all steps at once.
  Tensor project(const Tensor& x) const;

 protected:
  /// Draws the weights; `name` begins the message of a ValueError.
  RecurrentCell(std::string_view name, std::int64_t in, std::int64_t hidden, std::int64_t gates);
  /// What the state h gives to all gates.
  Tensor recur(const Tensor& h) const;
};

/// h' = tanh(W_ih x + b_ih + W_hh h + b_hh).
struct RNNCell : RecurrentCell {
  /// For x [n, in].
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
  /// For x [n, in].
  LSTMCell(std::int64_t in, std::int64_t hidden) : RecurrentCell("LSTMCell", in, hidden, 4) {}
  /// x [n, in] -> the next state.
  RecurrentState operator()(const Tensor& x, const RecurrentState& s = {}) const {
    return next(project(x), s);
  }
  /// The same for an x that was projected.
  RecurrentState next(const Tensor& projected, const RecurrentState&) const;
};

/// r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));
/// h' = (1 - z) n + z h (Cho et al., arXiv:1406.1078). Gates are in the order r, z, n.
struct GRUCell : RecurrentCell {
  /// For x [n, in].
  GRUCell(std::int64_t in, std::int64_t hidden) : RecurrentCell("GRUCell", in, hidden, 3) {}
  /// x [n, in] -> the next state.
  RecurrentState operator()(const Tensor& x, const RecurrentState& s = {}) const {
    return next(project(x), s);
  }
  /// The same for an x that was projected.
  RecurrentState next(const Tensor& projected, const RecurrentState&) const;
};

/// How a recurrent layer is made.
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

/// Layers of cells over sequences.
template<class Cell>
struct Recurrent {
  /// For x [n, length, in].
  Recurrent(std::int64_t in, std::int64_t hidden, const RecurrentOptions& = {});
  /// x [n, length, in]; `first` is empty, or one state for each of `cells`. Throws ShapeError.
  RecurrentOutput operator()(const Tensor& x, const std::vector<RecurrentState>& first = {}) const;
  /// "weight_ih_l0", ..., "bias_hh_l1_reverse".
  void each(Visit&);
  std::vector<Cell> cells;   ///< in the order of RecurrentOutput::last
  RecurrentOptions options;  ///< as given
  bool training = true;      ///< whether dropout drops; nn::train and nn::eval set it
};
using RNN = Recurrent<RNNCell>;    ///< of tanh cells
using LSTM = Recurrent<LSTMCell>;  ///< of long short-term memories
using GRU = Recurrent<GRUCell>;    ///< of gated recurrent units
extern template struct Recurrent<RNNCell>;
extern template struct Recurrent<LSTMCell>;
extern template struct Recurrent<GRUCell>;

}  // namespace bobbin::nn
