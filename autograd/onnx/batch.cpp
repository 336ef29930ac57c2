// Joins the graphs of several batch sizes into one graph for any batch size.
#include <fmt/format.h>

#include <algorithm>

#include "autograd/onnx/graph.h"

namespace bobbin::onnx {
namespace {

[[noreturn]] void differs(const std::string& what) {
  fail<ValueError>("save_onnx: ", what, " depends on the batch size in a way that any_batch cannot follow");
}

bool same(const Tensor& a, const Tensor& b) {
  if (a.spec() != b.spec()) return false;
  return (a.raw() == b.raw() && a.strides() == b.strides()) || raw_bytes(a) == raw_bytes(b);
}

// The function times * n + plus of the batch size n.
struct Line {
  std::int64_t times, plus;
};

// The function that has these values at the batch sizes n. Throws if there is none.
Line line(const Ints& values, const Ints& n, const std::string& what) {
  const std::int64_t rise = values[1] - values[0], run = n[1] - n[0];
  const Line l{rise / run, values[0] - rise / run * n[0]};
  for (std::size_t i = 0; i < n.size(); ++i)
    if (l.times * n[i] + l.plus != values[i]) differs(what);
  return l;
}

class Joined {
 public:
  Joined(const std::vector<Graph>& graphs, const Ints& n) : n_(n), graphs_(graphs), out_(graphs[0]) {}

  Graph run() {
    for (auto& g : graphs_)
      if (g.nodes != out_.nodes || g.constants.size() != out_.constants.size()) differs("the computation");
    const auto made = std::move(out_.nodes);
    out_.nodes.clear();
    for (std::size_t i = 0; i < graphs_[0].constants.size(); ++i) constant(i, made);
    out_.nodes.insert(out_.nodes.end(), made.begin(), made.end());
    port(&Graph::input);
    port(&Graph::output);
    out_.prune();
    return std::move(out_);
  }

 private:
  // Makes a constant a function of the batch size. If only one size of a reshape differs, it becomes -1.
  void constant(std::size_t i, const std::vector<Node>& nodes) {
    const Constant& first = graphs_[0].constants[i];
    Constant& c = out_.constants[i];
    const bool equal = std::all_of(graphs_.begin(), graphs_.end(), [&](const Graph& g) {
      return g.constants[i].name == c.name && same(g.constants[i].value, c.value);
    });
    if (equal) return;
    std::vector<Ints> values;
    for (auto& g : graphs_) {
      const Constant& other = g.constants[i];
      if (!other.sizes || other.name != c.name || other.value.shape() != c.value.shape()) differs(c.name);
      values.push_back(other.value.to_vector<std::int64_t>());
    }
    Ints times, plus, open;
    for (std::size_t k = 0; k < values[0].size(); ++k) {
      Ints at;
      for (auto& v : values) at.push_back(v[k]);
      const Line l = line(at, n_, c.name);
      times.push_back(l.times);
      plus.push_back(l.plus);
      open.push_back(l.times == 0 ? l.plus : -1);
    }
    const bool reshapes = std::all_of(nodes.begin(), nodes.end(), [&](const Node& node) {
      return node.type == "Reshape" ||
             std::find(node.inputs.begin(), node.inputs.end(), first.name) == node.inputs.end();
    });
    if (reshapes && std::count(open.begin(), open.end(), -1) == 1) {
      c.value = from_range(open);
      c.version = c.value.version();
      return;
    }
    const std::string name = c.name;
    c.name = out_.unique(name + "_rest");
    c.value = from_range(plus);
    c.version = c.value.version();
    const std::string rest = c.name;  // a copy: add() may move the constants
    const std::string product = out_.add("Mul", {batch(), out_.sizes(times)});
    out_.nodes.push_back({"Add", {product, rest}, name, {}, {}});
  }

  // The batch size, as a vector of one element.
  const std::string& batch() {
    if (batch_.empty())
      batch_ = out_.add("Shape", {out_.input.name}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
    return batch_;
  }

  void port(Port Graph::*which) {
    Port& p = out_.*which;
    p.symbols.assign(static_cast<std::size_t>(p.spec.shape.size()), "");
    for (auto& g : graphs_)
      if ((g.*which).spec.shape.size() != p.spec.shape.size()) differs("the output's rank");
    for (int axis = 0; axis < p.spec.shape.size(); ++axis) {
      Ints at;
      for (auto& g : graphs_) at.push_back((g.*which).spec.shape[axis]);
      const auto [times, plus] = line(at, n_, "the output's shape");
      if (times == 0) continue;
      std::string& symbol = p.symbols[static_cast<std::size_t>(axis)];
      symbol = times == 1 ? "n" : fmt::format("{}*n", times);
      if (plus != 0) symbol += fmt::format("{:+}", plus);
    }
  }

  const Ints& n_;
  const std::vector<Graph>& graphs_;
  Graph out_;
  std::string batch_;
};

}  // namespace

Graph join_batches(const std::vector<Graph>& graphs, const Ints& n) { return Joined(graphs, n).run(); }

}  // namespace bobbin::onnx
