// Rules of recurrent layers: one RNN, LSTM or GRU node for each layer, whatever the length of the sequence.
#include <bobbin/autocast.h>

#include "autograd/nn/rnn.h"
#include "autograd/onnx/rules.h"

namespace bobbin::onnx {
namespace {

using Name = std::string;
using Names = std::vector<Name>;
using nn::RecurrentKind;

struct Operator {
  const char* type;
  Ints gates;  ///< ONNX's gates by Bobbin's numbers
  Attributes attributes;
};

const Operator& operator_of(RecurrentKind kind) {
  static const Operator all[] = {{"RNN", {0}, {}},
                                 {"LSTM", {0, 3, 1, 2}, {}},  // i, o, f, g
                                 // z, r, n; the reset gate scales W_hn h + b_hn, not h
                                 {"GRU", {1, 0, 2}, {{"linear_before_reset", std::int64_t{1}}}}};
  return all[static_cast<int>(kind)];
}

class Layer {
 public:
  Layer(Graph& g, RecurrentKind kind, const Call& call)
      : g_(g), call_(call), kind_(kind), op_(operator_of(kind)) {}

  // Runtimes lack these operators for f64 and for sequences without elements.
  bool taken() const {
    const Tensor& x = call_.x[0];
    if (x.dtype() == DType::f64 || autocast_dtype() != DType::f32 || x.numel() == 0) return false;
    for (std::size_t d = 0; d < directions(); ++d)
      for (const std::size_t state : {h, c})
        if (const Tensor& t = input(d, state); t && t.shape() != Shape{x.size(0), hidden()}) return false;
    return true;
  }

  // X [length, n, in], W, R [directions, gates hidden, in or hidden], B [directions, 2 gates hidden], the
  // first states [directions, n, hidden] -> Y [length, directions, n, hidden], the last states.
  Names run() {
    const Name x = g_.add("Transpose", {wide(call_.in[0])}, {{"perm", Ints{1, 0, 2}}});
    Names in{x, weights({weight_ih}), weights({weight_hh}), weights({bias_ih, bias_hh}), "", first(h)};
    const bool cells = kind_ == RecurrentKind::lstm;
    if (cells) in.push_back(first(c));
    while (in.back().empty()) in.pop_back();
    Attributes attributes{{"hidden_size", hidden()}};
    if (directions() == 2) attributes.push_back({"direction", Name("bidirectional")});
    attributes.insert(attributes.end(), op_.attributes.begin(), op_.attributes.end());
    const Names out = g_.add(op_.type, cells ? 3 : 2, in, attributes);

    const Name y = g_.add("Transpose", {out[0]}, {{"perm", Ints{2, 0, 1, 3}}});
    const Ints sizes{0, 0, static_cast<std::int64_t>(directions()) * hidden()};  // 0: as they are
    Names results{narrow(g_.add("Reshape", {y, g_.sizes(sizes)}))};
    for (std::size_t d = 0; d < directions(); ++d)
      for (std::size_t state = 1; state <= 2; ++state) {
        const Name index = g_.number(static_cast<double>(d), DType::i64);
        results.push_back(state < out.size() ? narrow(g_.add("Gather", {out[state], index})) : "");
      }
    return results;
  }

 private:
  // Numbers of the inputs of a direction.
  static constexpr std::size_t weight_ih = 0, weight_hh = 1, bias_ih = 2, bias_hh = 3, h = 4, c = 5;

  std::size_t directions() const { return call_.x.size() / nn::RecurrentLayer::inputs; }
  std::size_t at(std::size_t direction, std::size_t i) const {
    return 1 + direction * nn::RecurrentLayer::inputs + i;
  }
  const Tensor& input(std::size_t direction, std::size_t i) const { return call_.x[at(direction, i)]; }
  std::int64_t hidden() const { return input(0, weight_hh).size(1); }

  // These operators do not take bf16.
  bool casts() const { return call_.x[0].dtype() == DType::bf16; }
  Name wide(const Name& x) { return casts() ? g_.cast(x, DType::f32) : x; }
  Name narrow(const Name& y) { return casts() ? g_.cast(y, DType::bf16) : y; }

  // These weights of all directions, with the gates in ONNX's order: [directions, ...].
  Name weights(std::initializer_list<std::size_t> which) {
    Names parts;
    for (std::size_t d = 0; d < directions(); ++d)
      for (const std::size_t i : which) parts.push_back(wide(call_.in[at(d, i)]));
    Name all = parts.size() == 1 ? parts[0] : g_.add("Concat", parts, {{"axis", std::int64_t{0}}});
    const auto gates = static_cast<std::int64_t>(op_.gates.size()),
               ways = static_cast<std::int64_t>(directions()),
               blocks = ways * static_cast<std::int64_t>(which.size());
    const bool matrix = input(0, *which.begin()).rank() == 2;
    const std::int64_t width = matrix ? input(0, *which.begin()).size(1) : hidden();
    if (gates > 1) {
      // [blocks, gates, the rest of a gate]
      const std::int64_t rest = matrix ? hidden() * width : hidden();
      all = g_.add("Reshape", {all, g_.sizes(Ints{blocks, gates, rest})});
      all = g_.add("Gather", {all, g_.constant("gates", from_range(op_.gates))}, {{"axis", std::int64_t{1}}});
    }
    const Ints sizes = matrix ? Ints{ways, gates * hidden(), width} : Ints{ways, -1};
    return g_.add("Reshape", {all, g_.sizes(sizes)});
  }

  // The first states of all directions, "" if none is given.
  Name first(std::size_t state) {
    Names parts;
    bool given = false;
    for (std::size_t d = 0; d < directions(); ++d) {
      const Tensor& t = input(d, state);
      given = given || t;
      const Name one =
          wide(t ? call_.in[at(d, state)]
                 : g_.constant("state", zeros({call_.x[0].size(0), hidden()}, call_.x[0].dtype())));
      parts.push_back(g_.add("Unsqueeze", {one, g_.sizes(Ints{0})}));
    }
    if (!given) return "";
    return parts.size() == 1 ? parts[0] : g_.add("Concat", parts, {{"axis", std::int64_t{0}}});
  }

  Graph& g_;
  const Call& call_;
  RecurrentKind kind_;
  const Operator& op_;
};

}  // namespace

void add_recurrent(CompositeRules& r) {
  add_rule<nn::RecurrentLayer>(r, [](Graph& g, const nn::RecurrentLayer& of, const Call& call) {
    Layer layer(g, of.kind, call);
    return layer.taken() ? layer.run() : Names();
  });
}

}  // namespace bobbin::onnx
