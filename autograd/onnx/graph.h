// An ONNX graph in the making, before it becomes the bytes of a file.
#pragma once
#include <bobbin/tensor.h>

#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace bobbin::onnx {

using Ints = std::vector<std::int64_t>;
using Attribute = std::variant<std::int64_t, double, Ints, std::string>;
using Attributes = std::vector<std::pair<std::string, Attribute>>;

/// A node. One that cannot be written has the reason in `refusal`.
struct Call {
  std::string type;
  std::vector<std::string> inputs;  ///< "" for one left out
  std::string output;
  Attributes attributes;
  std::string refusal;
  friend bool operator==(const Call&, const Call&) = default;
};

/// An initializer, and the version of its storage when it was met.
struct Constant {
  std::string name;
  Tensor value;
  std::uint64_t version;
  bool sizes = false;  ///< i64 sizes and places, which may follow the batch
};

/// What goes in or comes out. An axis that has a symbol may have other sizes.
struct Port {
  std::string name;
  TensorSpec spec;
  std::vector<std::string> symbols;  ///< one an axis, or none
};

struct Graph {
  Port input, output;
  std::vector<Call> calls;
  std::vector<Constant> constants;
  std::set<std::string> names;

  /// `wanted`, or with a number behind it where that is taken.
  std::string unique(const std::string& wanted);
  /// Adds a node and gives the name of its result.
  std::string add(const std::string& type, std::vector<std::string> inputs, Attributes = {});
  std::string constant(const std::string& wanted, const Tensor&);
  std::string sizes(const Ints&);
  std::string sizes(const Dims& d) { return sizes(Ints(d.begin(), d.end())); }
  /// A number that broadcasts.
  std::string number(double value, DType d) { return constant("number", full({}, value, d)); }

  /// Drops what the output does not need.
  void prune();
};

/// TensorProto's number of a dtype.
std::int64_t type_number(DType);
/// A tensor's elements as they lie in a file.
std::string raw_bytes(const Tensor&);
/// The file's bytes.
std::string encode(const Graph&);

/// Makes one graph of those of calls with batches of `sizes`: numbers that differ are computed from the
/// input's first axis. Throws ValueError where more differs.
Graph join_batches(const std::vector<Graph>&, const Ints& sizes);

}  // namespace bobbin::onnx
