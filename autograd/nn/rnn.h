// What a layer of rnn.h computes, for exporters.
#pragma once
#include "core/probe.h"

namespace bobbin::nn {

enum class RecurrentKind { rnn, lstm, gru };

/// One layer of RNN, LSTM or GRU over a sequence, in one direction or both. Inputs: x [n, length, in], and
/// for each direction weight_ih, weight_hh, bias_ih, bias_hh and the first h and c, if given. Results: y, as
/// in RecurrentOutput, and for each direction the last h and, of an LSTM, c.
struct RecurrentLayer : bobbin::detail::Composite {
  static constexpr std::size_t inputs = 6;  ///< of each direction
  RecurrentKind kind;
  explicit RecurrentLayer(RecurrentKind k) : kind(k) {}
};

}  // namespace bobbin::nn
