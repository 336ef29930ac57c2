// Reads ONNX files by the field numbers of onnx.proto, and runs their graphs.
#include "tests/onnx/model.h"

#include <cstring>
#include <fstream>
#include <protozero/pbf_reader.hpp>

namespace tests::onnx {
namespace {

using namespace bobbin;
using protozero::pbf_reader;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

DType dtype_of_number(std::int64_t number) {
  switch (number) {
    case 1:
      return DType::f32;
    case 2:
      return DType::u8;
    case 6:
      return DType::i32;
    case 7:
      return DType::i64;
    case 9:
      return DType::boolean;
    case 10:
      return DType::f16;
    case 11:
      return DType::f64;
    case 16:
      return DType::bf16;
    default:
      throw NotExpressible("dtype " + std::to_string(number));
  }
}

// Copies a packed field of elements of type T to the tensor, each cut to the size of its dtype.
template<class T, class Range>
void store(Tensor& t, const Range& values) {
  const auto size = static_cast<std::size_t>(size_of(t.dtype()));
  char* to = t.raw<char>();
  for (const auto value : values) {
    const T v = static_cast<T>(value);
    std::memcpy(to, &v, size);  // little-endian: the low bytes
    to += size;
  }
}

Tensor tensor_of(pbf_reader in) {
  std::vector<std::int64_t> sizes;
  DType dtype{};
  // Fields may be in any order: what holds the elements is read again when shape and dtype are known.
  pbf_reader elements = in;
  while (in.next()) {
    if (in.tag() == 1) {
      if (in.wire_type() == protozero::pbf_wire_type::length_delimited)
        for (const auto size : in.get_packed_int64()) sizes.push_back(size);
      else
        sizes.push_back(in.get_int64());
    } else if (in.tag() == 2) {
      dtype = dtype_of_number(in.get_int32());
    } else {
      in.skip();
    }
  }
  if (sizes.size() > 8) throw NotExpressible("rank " + std::to_string(sizes.size()));
  Tensor t = zeros(Shape(std::span<const std::int64_t>(sizes)), dtype);
  while (elements.next()) switch (elements.tag()) {
      case 4:
        store<float>(t, elements.get_packed_float());
        break;
      case 5:
        store<std::int32_t>(t, elements.get_packed_int32());
        break;
      case 7:
        store<std::int64_t>(t, elements.get_packed_int64());
        break;
      case 9: {
        const auto raw = elements.get_view();
        if (raw.size() != 0) std::memcpy(t.raw(), raw.data(), raw.size());
        break;
      }
      case 10:
        store<double>(t, elements.get_packed_double());
        break;
      default:
        elements.skip();
    }
  return t;
}

std::pair<std::string, Attribute> attribute_of(pbf_reader in) {
  std::pair<std::string, Attribute> result;
  auto& [name, value] = result;
  while (in.next()) switch (in.tag()) {
      case 1:
        name = in.get_string();
        break;
      case 2:
        value.number = in.get_float();
        break;
      case 3:
        value.integer = in.get_int64();
        break;
      case 4:
        value.text = in.get_string();
        break;
      case 5:
        value.tensor = tensor_of(in.get_message());
        break;
      case 8:
        if (in.wire_type() == protozero::pbf_wire_type::length_delimited)
          for (const auto i : in.get_packed_int64()) value.integers.push_back(i);
        else
          value.integers.push_back(in.get_int64());
        break;
      default:
        in.skip();
    }
  return result;
}

Node node_of(pbf_reader in) {
  Node node;
  while (in.next()) switch (in.tag()) {
      case 1:
        node.inputs.push_back(in.get_string());
        break;
      case 2:
        node.outputs.push_back(in.get_string());
        break;
      case 4:
        node.type = in.get_string();
        break;
      case 5:
        node.attributes.insert(attribute_of(in.get_message()));
        break;
      case 7:
        if (const std::string domain = in.get_string(); !domain.empty() && domain != "ai.onnx")
          throw NotExpressible("domain " + domain);
        break;
      default:
        in.skip();
    }
  return node;
}

std::string first_string(pbf_reader in, protozero::pbf_tag_type tag) {
  return in.next(tag) ? in.get_string() : "";
}

// The name of an input or output, which must be a tensor.
std::string port(pbf_reader in) {
  std::string name;
  while (in.next())
    if (in.tag() == 1) {
      name = in.get_string();
    } else if (in.tag() == 2) {
      pbf_reader type = in.get_message();
      if (!type.next(1)) throw NotExpressible("a sequence");
    } else {
      in.skip();
    }
  return name;
}

void read_graph(pbf_reader in, Model& model) {
  while (in.next()) switch (in.tag()) {
      case 1:
        model.nodes.push_back(node_of(in.get_message()));
        break;
      case 5: {
        const pbf_reader constant = in.get_message();
        model.constants.emplace(first_string(constant, 8), tensor_of(constant));
        break;
      }
      case 11:
        model.inputs.push_back(port(in.get_message()));
        break;
      case 12:
        model.outputs.push_back(port(in.get_message()));
        break;
      default:
        in.skip();
    }
  std::erase_if(model.inputs, [&](const std::string& name) { return model.constants.contains(name); });
}

template<class T>
T get(const Node& node, const std::string& name, T Attribute::*member, const T& otherwise) {
  const auto found = node.attributes.find(name);
  return found == node.attributes.end() ? otherwise : found->second.*member;
}

}  // namespace

std::int64_t Node::integer(const std::string& name, std::int64_t otherwise) const {
  return get(*this, name, &Attribute::integer, otherwise);
}
double Node::number(const std::string& name, double otherwise) const {
  return has(name) ? double{attributes.at(name).number} : otherwise;
}
std::string Node::text(const std::string& name, const std::string& otherwise) const {
  return get(*this, name, &Attribute::text, otherwise);
}
Ints Node::integers(const std::string& name, const Ints& otherwise) const {
  return get(*this, name, &Attribute::integers, otherwise);
}

Model read_model(const std::filesystem::path& path) {
  const std::string bytes = bytes_of(path);
  pbf_reader in(bytes);
  Model model;
  while (in.next()) {
    if (in.tag() == 7) {
      read_graph(in.get_message(), model);
    } else if (in.tag() == 8) {
      pbf_reader set = in.get_message();
      std::string domain;
      std::int64_t version = 0;
      while (set.next())
        if (set.tag() == 1)
          domain = set.get_string();
        else if (set.tag() == 2)
          version = set.get_int64();
        else
          set.skip();
      if (domain.empty() || domain == "ai.onnx") model.opset = version;
    } else {
      in.skip();
    }
  }
  return model;
}

Tensor read_tensor(const std::filesystem::path& path) {
  const std::string bytes = bytes_of(path);
  return tensor_of(pbf_reader(bytes));
}

std::vector<Tensor> run(const Model& model, const std::vector<Tensor>& inputs) {
  auto values = model.constants;
  values.emplace("", Tensor());
  for (std::size_t i = 0; i < model.inputs.size(); ++i)
    values[model.inputs[i]] = i < inputs.size() ? inputs[i] : Tensor();
  for (const Node& node : model.nodes) {
    std::vector<Tensor> in;
    for (auto& name : node.inputs) in.push_back(values.at(name));
    const auto out = run(node, in, model.opset);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty()) continue;
      if (i >= out.size()) throw NotExpressible(node.type + "'s output " + std::to_string(i));
      values[node.outputs[i]] = out[i];
    }
  }
  std::vector<Tensor> results;
  for (auto& name : model.outputs) results.push_back(values.at(name));
  return results;
}

}  // namespace tests::onnx
