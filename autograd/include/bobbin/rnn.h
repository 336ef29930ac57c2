// Recurrent layers: cells that compute one step, and layers that compute all steps of a sequence. Weights
// have PyTorch's names, shapes and order of gates, and are drawn uniformly from +-1/sqrt(hidden). Sizes below
// 1 throw ValueError.
#pragma once
#include <bobbin/module.h>

#include <vector>

namespace bobbin::nn {

/// The state that one step passes to the next: [n, hidden] each. Undefined tensors stand for zeros.
struct RecurrentState {
  Tensor h;  ///< the hidden state, which is also the output
  Tensor c;  ///< the cell state, only in an LSTM
};

/// The weights of a cell, for all of its gates.
struct RecurrentCell {
  Tensor weight_ih;  ///< [gates hidden, in]
  Tensor weight_hh;  ///< [gates hidden, hidden]
  Tensor bias_ih;    ///< [gates hidden]
  Tensor bias_hh;    ///< [gates hidden]
  /// Names the weights.
  void each(Visit& v) {
    v("weight_ih", weight_ih), v("weight_hh", weight_hh), v("bias_ih", bias_ih), v("bias_hh", bias_hh);
  }
  /// The size of the hidden state.
  std::int64_t hidden() const { return weight_hh.size(1); }
  /// W_ih x + b_ih for x [..., in] -> [..., gates hidden]; x may hold all steps.
  Tensor project(const Tensor& x) const;

 protected:
  /// Draws the weights; `name` begins the message of a ValueError.
  RecurrentCell(std::string_view name, std::int64_t in, std::int64_t hidden, std::int64_t gates);
  /// W_hh h + b_hh.
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

/// Options of a recurrent layer.
struct RecurrentOptions {
  std::int64_t layers = 1;     ///< each layer reads the output of the one before
  bool bidirectional = false;  ///< a second cell per layer runs from the end to the start
  double dropout = 0;          ///< on the outputs between layers, while training
};

/// The result of a recurrent layer for x [n, length, in].
struct RecurrentOutput {
  Tensor y;  ///< h of the last layer at each step: [n, length, hidden]; bidirectional: [n, length, 2 hidden]
  std::vector<RecurrentState> last;  ///< one per layer; bidirectional: two, forwards and backwards
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
using RNN = Recurrent<RNNCell>;    ///< layers of tanh cells
using LSTM = Recurrent<LSTMCell>;  ///< layers of long short-term memories
using GRU = Recurrent<GRUCell>;    ///< layers of gated recurrent units
extern template struct Recurrent<RNNCell>;
extern template struct Recurrent<LSTMCell>;
extern template struct Recurrent<GRUCell>;

}  // namespace bobbin::nn
