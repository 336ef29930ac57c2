// Traces one call of a model: a probe gets each operation that runs, and a rule adds its nodes to the graph.
#include <bobbin/index.h>
#include <bobbin/onnx.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <map>
#include <tuple>
#include <utility>

#include "autograd/onnx/rules.h"
#include "core/atomic_file.h"
#include "core/probe.h"
#include "ops/attention/attention.h"

namespace bobbin {
namespace onnx {
namespace {

// Identifies the elements of a tensor. Tensors with the same elements have the same name in the file, such as
// a tensor and its detach().
using View = std::tuple<const void*, std::int64_t, std::vector<std::int64_t>, DType>;

View view_of(const Tensor& x) {
  std::vector<std::int64_t> layout(x.shape().begin(), x.shape().end());
  layout.insert(layout.end(), x.strides().begin(), x.strides().end());
  return {x.storage().get(), x.offset(), std::move(layout), x.dtype()};
}

class Tracer final : public detail::Probe {
 public:
  Tracer(const OnnxOptions& options, const Tensor& example) : named_(options.names) {
    graph_.opset = options.opset;
    graph_.input = {graph_.unique(options.input), example.spec(), {}};
    graph_.output.name = graph_.unique(options.output);
    for (auto& [name, t] : named_)
      if (t) names_.try_emplace(view_of(t), name);
    keep(example, graph_.input.name, true);
    results_.insert(example.storage().get());
  }

  void ran(const OpBase& op, Inputs x, const Tensor& y) override {
    if (std::none_of(x.begin(), x.end(), [&](const Tensor& t) { return t && live(t); })) return;
    Step step{{}, x, y, y.dtype()};
    for (const Tensor& t : x) step.in.push_back(t ? name_of(t) : "");
    if (const auto* model = dynamic_cast<const detail::OpModel<Attention>*>(&op)) {
      // What the operator does not take becomes the operations that compute the same, as those run here.
      const std::string node = attention(graph_, model->op().terms, step);
      keep(y, !node.empty() ? node : name_of(composed_attention(model->op().terms, x)), true);
    } else {
      keep(y, translate(op, step), true);
    }
    if (!op.is_view()) results_.insert(y.storage().get());
  }

  // The results get other names. The nodes of the operations that have computed them stay only if something
  // else depends on them.
  void composed(const detail::Composite& f, Inputs x, std::span<const Tensor> y) override {
    if (std::none_of(x.begin(), x.end(), [&](const Tensor& t) { return t && live(t); })) return;
    const auto rule = composite_rules().find(typeid(f));
    if (rule == composite_rules().end()) return;
    Call call{{}, x, y};
    for (const Tensor& t : x) call.in.push_back(t ? name_of(t) : "");
    const auto results = rule->second(graph_, f, call);
    for (std::size_t i = 0; i < results.size(); ++i)
      if (y[i]) keep(y[i], results[i], true);
  }

  /// The graph that computes y.
  Graph finish(const Tensor& y) {
    const std::string result = name_of(y), name = std::exchange(graph_.output.name, result);
    graph_.output.spec = y.spec();
    graph_.prune();
    graph_.output.name = name;
    if (!graph_.nodes.empty() && graph_.nodes.back().outputs == std::vector{result})
      graph_.nodes.back().outputs = {name};  // no other node reads the result of the last one
    else
      graph_.nodes.push_back({.type = "Identity", .inputs = {result}, .outputs = {name}});
    for (auto& node : graph_.nodes)
      if (!node.refusal.empty()) fail<ValueError>(node.refusal);
    for (auto& c : graph_.constants)
      if (c.value.version() != c.version) edited(c.name);
    graph_.renumber();
    return std::move(graph_);
  }

 private:
  struct Value {
    Tensor tensor;  // keeps the storage alive, so that no other tensor gets its address
    std::string name;
    std::uint64_t version;
    bool live;  // depends on the input or a parameter; else it is a constant
  };

  [[noreturn]] static void edited(const std::string& name) {
    fail<ValueError>("save_onnx: '", name, "' was edited in place during the call, which a file cannot hold");
  }

  void keep(const Tensor& t, const std::string& name, bool live) {
    values_.insert_or_assign(view_of(t), Value{t, name, t.version(), live});
  }

  bool live(const Tensor& t) const {
    const View view = view_of(t);
    if (const auto it = values_.find(view); it != values_.end()) return it->second.live;
    return t.requires_grad() || names_.contains(view) || results_.contains(t.storage().get());
  }

  std::string name_of(const Tensor& t) {
    const View view = view_of(t);
    if (const auto it = values_.find(view); it != values_.end()) {
      if (it->second.version != t.version()) edited(it->second.name);
      return it->second.name;
    }
    const auto named = names_.find(view);
    if (named == names_.end() && !t.requires_grad() && results_.contains(t.storage().get()))
      fail<ValueError>("save_onnx: ", t.spec(), " is a view of a result that no operation made");
    const bool parameter = named != names_.end() || t.requires_grad();
    const std::string wanted = named != names_.end() ? named->second : parameter ? "parameter" : "constant";
    const std::string name = graph_.constant(wanted, t);
    keep(t, name, parameter);
    return name;
  }

  // An operation without a rule becomes a node that throws only if the result depends on it.
  std::string translate(const OpBase& op, const Step& step) {
    std::string why = op.name() == "dropout" || op.name() == "batch_norm" ? "; call eval(model) first" : "";
    if (const auto rule = rules().find(typeid(op)); rule != rules().end()) {
      try {
        return rule->second(graph_, op, step);
      } catch (const ValueError& e) {
        why = std::string(" ") + e.what();
      }
    }
    why = "save_onnx: ONNX has no words for '" + std::string(op.name()) + "'" + why;
    graph_.nodes.push_back(
        {.type = "", .inputs = step.in, .outputs = {graph_.unique("refused")}, .refusal = why});
    return graph_.nodes.back().outputs[0];
  }

  Graph graph_;
  StateDict named_;
  std::map<View, std::string> names_;
  std::map<View, Value> values_;
  std::set<const void*> results_;  // storages of results of operations
};

Graph trace(const OnnxOptions& options, const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  const NoGrad quiet;
  const Tensor input = clone(x.detach());  // the model holds no other view of its elements
  Tracer tracer(options, input);
  return tracer.finish(f(input));
}

// Calls f with inputs of several sizes: copies of the example, joined along the open axes.
Graph trace_sizes(const OnnxOptions& options, const std::function<Tensor(const Tensor&)>& f, const Tensor& x,
                  const Axes& open) {
  // Of every axis 2 copies, then 3 and 5 of each alone, then more of all.
  const auto count = static_cast<std::size_t>(open.size());
  std::vector<Ints> copies{Ints(count, 2)};
  for (std::size_t k = 0; k < count; ++k)
    for (const int more : {3, 5}) {
      copies.emplace_back(count, 2);
      copies.back()[k] = more;
    }
  copies.emplace_back(count, 3);
  std::vector<Graph> graphs;
  std::vector<Ints> points;
  for (const Ints& times : copies) {
    Tensor input = x.detach();
    Ints sizes;
    for (std::size_t k = 0; k < count; ++k) {
      const NoGrad quiet;
      const int axis = static_cast<int>(open[static_cast<int>(k)]);
      input = concat(std::vector<Tensor>(static_cast<std::size_t>(times[k]), input), axis);
      sizes.push_back(input.size(axis));
    }
    graphs.push_back(trace(options, f, input));
    points.push_back(sizes);
  }
  return join(graphs, open, points);
}

// The numbers of the open axes, counted from the front and in order.
Axes open_axes(const OnnxOptions& options, const Tensor& x) {
  for (const auto axis : options.open_axes)
    if (axis < -x.rank() || axis >= x.rank() || x.size(static_cast<int>(axis)) == 0)
      fail<ShapeError>("save_onnx: open_axes wants an example with elements along axis ", axis, "; got ",
                       x.spec());
  if (options.open_axes.empty()) return {};  // to normalize_axes, no axes are all axes
  return normalize_axes("save_onnx", options.open_axes, x.rank());
}

// The version of the file format that came with each opset.
int ir_version(const OnnxOptions& options) {
  constexpr int versions[] = {8, 8, 9, 9, 10, 10, 11};
  if (options.opset < 17 || options.opset > 23)
    fail<ValueError>("save_onnx: expected an opset from 17 to 23; got ", options.opset);
  if (options.ir_version < 0)
    fail<ValueError>("save_onnx: expected a version of the format; got ", options.ir_version);
  return options.ir_version != 0 ? options.ir_version : versions[options.opset - 17];
}

}  // namespace
}  // namespace onnx

void save_onnx(const std::filesystem::path& path, const std::function<Tensor(const Tensor&)>& f,
               const Tensor& example, const OnnxOptions& options) {
  const int version = onnx::ir_version(options);
  for (auto& name : {options.input, options.output})
    if (name.empty()) fail<ValueError>("save_onnx: the input's and the output's names must not be empty");
  for (auto& [name, t] : options.names)
    if (name.empty()) fail<ValueError>("save_onnx: a tensor's name must not be empty");
  const Axes open = onnx::open_axes(options, example);
  const std::string bytes = onnx::encode(
      open.empty() ? onnx::trace(options, f, example) : onnx::trace_sizes(options, f, example, open),
      version);
  AtomicFile file("save_onnx", path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace bobbin
