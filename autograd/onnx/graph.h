// An ONNX graph in memory: nodes, constants (initializers), input and output.
#pragma once
#include <bobbin/tensor.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace bobbin::onnx {

using Ints = std::vector<std::int64_t>;
using Attribute = std::variant<std::int64_t, double, Ints, std::string>;
using Attributes = std::vector<std::pair<std::string, Attribute>>;

/// A node. If it has no form in ONNX, `refusal` says why.
struct Node {
  static constexpr std::int64_t whole = -1;
  std::string type = {};
  std::vector<std::string> inputs = {};  ///< "" for an optional input that is not given
  std::vector<std::string> outputs = {};
  Attributes attributes = {};
  std::string refusal = {};
  std::int64_t cut = whole;  ///< for a slice with a bound beyond the end of the axis: the axis' size
  friend bool operator==(const Node&, const Node&) = default;
};

/// An initializer, and the version of its storage when it was added.
struct Constant {
  std::string name;
  Tensor value;
  std::uint64_t version;
  bool sizes = false;  ///< i64 sizes and indices, which may depend on the batch size
};

/// The input or the output. An axis that has a symbol may have any size.
struct Port {
  std::string name;
  TensorSpec spec;
  std::vector<std::string> symbols;  ///< one for each axis, or none
};

struct Graph {
  int opset = 17;
  Port input, output;
  std::vector<Node> nodes;
  std::vector<Constant> constants;
  std::map<std::string, std::string> names;  ///< all names; for each, the one that was wanted

  /// `wanted`, with a number appended if that is taken.
  std::string unique(const std::string& wanted);
  /// Adds a node and returns the name of its (first) result.
  std::string add(const std::string& type, std::vector<std::string> inputs, Attributes = {});
  /// Adds a node of several results and returns their names.
  std::vector<std::string> add(const std::string& type, std::size_t results, std::vector<std::string> inputs,
                               Attributes);
  std::string constant(const std::string& wanted, const Tensor&);
  std::string sizes(const Ints&);
  std::string sizes(const Dims& d) { return sizes(Ints(d.begin(), d.end())); }
  /// Adds a conversion.
  std::string cast(const std::string& x, DType);
  /// A scalar constant.
  std::string number(double value, DType d) { return constant("number", full({}, value, d)); }

  /// Removes the nodes and constants that the output does not depend on.
  void prune();
  /// Numbers the names again, so that they do not depend on what has been removed.
  void renumber();
};

/// TensorProto's number of a dtype.
std::int64_t type_number(DType);
/// A tensor's elements in row-major order, as bytes.
std::string raw_bytes(const Tensor&);
/// The bytes of the file.
std::string encode(const Graph&, int ir_version);

/// Joins the graphs of calls with inputs of several sizes into one graph for any sizes of the axes `open` of
/// the input. points[i] has the sizes of these axes in call i: call 0 is the base, calls 2 k + 1 and 2 k + 2
/// differ from it in axis open[k] alone, and in the last one all axes differ. Sizes and indices that differ
/// are computed from the input's shape, as are constants that repeat one number. Throws ValueError if
/// anything else differs.
Graph join(const std::vector<Graph>&, const Axes& open, const std::vector<Ints>& points);

}  // namespace bobbin::onnx
