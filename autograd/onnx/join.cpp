// Joins the graphs of several input sizes into one graph for any size.
#include <bobbin/view.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "autograd/onnx/graph.h"

namespace bobbin::onnx {
namespace {

[[noreturn]] void differs(const std::string& what) {
  fail<ValueError>("save_onnx: ", what,
                   " depends on the input's sizes in a way that open_axes cannot follow");
}

bool same(const Tensor& a, const Tensor& b) {
  if (a.spec() != b.spec()) return false;
  return (a.raw() == b.raw() && a.strides() == b.strides()) || raw_bytes(a) == raw_bytes(b);
}

// The function plus + sum_k times[k] n[k] of the sizes n of the open axes.
struct Linear {
  Ints times;
  std::int64_t plus;
  bool is_constant() const {
    return std::all_of(times.begin(), times.end(), [](auto t) { return t == 0; });
  }
};

// Whether all elements have the same bytes; these bytes, if there are any.
std::optional<std::string> repeated(const Tensor& t) {
  const std::string bytes = raw_bytes(t);
  const auto size = static_cast<std::size_t>(size_of(t.dtype()));
  if (bytes.empty() || bytes.compare(size, std::string::npos, bytes, 0, bytes.size() - size) != 0)
    return std::nullopt;
  return bytes.substr(0, size);
}

class Joined {
 public:
  Joined(const std::vector<Graph>& graphs, const Axes& open, const std::vector<Ints>& points)
      : open_(open), points_(points), graphs_(graphs), out_(graphs[0]) {}

  Graph run() {
    for (auto& g : graphs_) check_nodes(g);
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
  void check_nodes(const Graph& g) const {
    if (g.nodes.size() == out_.nodes.size())
      for (std::size_t i = 0; i < g.nodes.size(); ++i)
        if (g.nodes[i].cut != out_.nodes[i].cut) differs("a slice with bounds beyond the end of its axis");
    if (g.nodes != out_.nodes || g.constants.size() != out_.constants.size()) differs("the computation");
  }

  // The function that has these values at the points, if there is one.
  std::optional<Linear> linear(const Ints& values) const {
    Linear f{{}, values[0]};
    for (std::size_t k = 0; k < points_[0].size(); ++k) {
      const std::int64_t rise = values[2 * k + 1] - values[0], run = points_[2 * k + 1][k] - points_[0][k];
      f.times.push_back(rise / run);
      f.plus -= f.times[k] * points_[0][k];
    }
    for (std::size_t i = 0; i < points_.size(); ++i) {
      std::int64_t value = f.plus;
      for (std::size_t k = 0; k < f.times.size(); ++k) value += f.times[k] * points_[i][k];
      if (value != values[i]) return std::nullopt;
    }
    return f;
  }

  // Makes a constant a function of the input's sizes.
  void constant(std::size_t i, const std::vector<Node>& nodes) {
    std::vector<const Constant*> all;
    for (auto& g : graphs_) all.push_back(&g.constants[i]);
    const Constant& first = *all[0];
    if (std::all_of(all.begin(), all.end(),
                    [&](auto* c) { return c->name == first.name && same(c->value, first.value); }))
      return;
    std::vector<Ints> sizes;
    for (auto* c : all) {
      if (c->name != first.name || c->sizes != first.sizes || c->value.rank() != first.value.rank())
        differs(first.name);
      sizes.push_back(c->sizes ? c->value.to_vector<std::int64_t>()
                               : Ints(c->value.shape().begin(), c->value.shape().end()));
      if (sizes.back().size() != sizes[0].size()) differs(first.name);
    }
    if (first.sizes)
      replace_sizes(i, sizes, nodes);
    else
      replace_repeated(i, sizes, all);
  }

  std::vector<std::optional<Linear>> functions(const std::vector<Ints>& sizes) const {
    std::vector<std::optional<Linear>> result;
    for (std::size_t k = 0; k < sizes[0].size(); ++k) {
      Ints values;
      for (auto& s : sizes) values.push_back(s[k]);
      result.push_back(linear(values));
    }
    return result;
  }

  // If only one size of a reshape differs, it becomes -1; else all are computed.
  void replace_sizes(std::size_t i, const std::vector<Ints>& sizes, const std::vector<Node>& nodes) {
    Constant& c = out_.constants[i];
    const std::string name = c.name;
    const bool reshapes = std::all_of(nodes.begin(), nodes.end(), [&](const Node& node) {
      return node.type == "Reshape" ||
             std::find(node.inputs.begin(), node.inputs.end(), name) == node.inputs.end();
    });
    const auto lines = functions(sizes);
    Ints open;
    for (auto& f : lines) open.push_back(f && f->is_constant() ? f->plus : -1);
    if (reshapes && std::count(open.begin(), open.end(), -1) == 1 &&
        std::count(open.begin(), open.end(), 0) == 0) {
      set(c, from_range(open));
      return;
    }
    c.name = out_.unique(name + "_unused");
    compute(name, lines);
  }

  // A constant whose elements are all one number, such as a first state of zeros.
  void replace_repeated(std::size_t i, const std::vector<Ints>& sizes,
                        const std::vector<const Constant*>& all) {
    Constant& c = out_.constants[i];
    const std::string name = c.name;
    const auto element = repeated(c.value);
    for (auto* other : all)
      if (!element || repeated(other->value) != element) differs(name);
    c.name = out_.unique(name + "_element");
    set(c, reshape(slice(reshape(c.value, {c.value.numel()}), 0, 0, 1), {}));
    const std::string value = c.name, shape = out_.unique("sizes");  // add() may move the constants
    compute(shape, functions(sizes));
    out_.nodes.push_back({.type = "Expand", .inputs = {value, shape}, .outputs = {name}});
  }

  static void set(Constant& c, const Tensor& value) {
    c.value = value;
    c.version = value.version();
  }

  // Adds nodes that compute a vector of functions of the input's sizes.
  void compute(const std::string& name, const std::vector<std::optional<Linear>>& functions) {
    Ints plus;
    for (auto& f : functions) {
      if (!f) differs(name);
      plus.push_back(f->plus);
    }
    std::string sum = out_.sizes(plus);
    for (std::size_t k = 0; k < points_[0].size(); ++k) {
      Ints times;
      for (auto& f : functions) times.push_back(f->times[k]);
      if (std::all_of(times.begin(), times.end(), [](auto t) { return t == 0; })) continue;
      const std::string factors = out_.sizes(times), product = out_.add("Mul", {size(k), factors});
      sum = out_.add("Add", {product, sum});
    }
    out_.nodes.push_back({.type = "Identity", .inputs = {sum}, .outputs = {name}});
  }

  // The size of an open axis, as a vector of one element.
  std::string size(std::size_t k) {
    if (sizes_.empty()) sizes_.resize(points_[0].size());
    const std::int64_t axis = open_[static_cast<int>(k)];
    if (sizes_[k].empty())
      sizes_[k] = out_.add("Shape", {out_.input.name}, {{"start", axis}, {"end", axis + 1}});
    return sizes_[k];
  }

  // The name of an open axis: "n" for the batch, else by its number.
  std::string symbol(std::size_t k) const {
    const auto axis = open_[static_cast<int>(k)];
    return axis == 0 ? "n" : fmt::format("d{}", axis);
  }

  void port(Port Graph::*which) {
    Port& p = out_.*which;
    p.symbols.assign(static_cast<std::size_t>(p.spec.shape.size()), "");
    for (auto& g : graphs_)
      if ((g.*which).spec.shape.size() != p.spec.shape.size()) differs("the output's rank");
    for (int axis = 0; axis < p.spec.shape.size(); ++axis) {
      Ints values;
      for (auto& g : graphs_) values.push_back((g.*which).spec.shape[axis]);
      const auto f = linear(values);
      if (f && f->is_constant()) continue;
      std::string text;
      for (std::size_t k = 0; f && k < f->times.size(); ++k) {
        if (f->times[k] == 0) continue;
        if (!text.empty()) text += "+";
        text += f->times[k] == 1 ? symbol(k) : fmt::format("{}*{}", f->times[k], symbol(k));
      }
      if (f && f->plus != 0) text += fmt::format("{:+}", f->plus);
      p.symbols[static_cast<std::size_t>(axis)] = f ? text : fmt::format("{}_d{}", p.name, axis);
    }
  }

  const Axes& open_;
  const std::vector<Ints>& points_;
  const std::vector<Graph>& graphs_;
  Graph out_;
  std::vector<std::string> sizes_;
};

}  // namespace

Graph join(const std::vector<Graph>& graphs, const Axes& open, const std::vector<Ints>& points) {
  return Joined(graphs, open, points).run();
}

}  // namespace bobbin::onnx
