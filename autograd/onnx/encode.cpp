// The bytes of an ONNX file: protocol buffers, by the field numbers of onnx.proto.
#include <bobbin/elementwise.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <limits>
#include <protozero/pbf_writer.hpp>

#include "autograd/onnx/graph.h"

namespace bobbin::onnx {
namespace {

using protozero::pbf_writer;

void write(pbf_writer& node, const std::string& name, const Attribute& value) {
  pbf_writer out(node, 5);
  out.add_string(1, name);
  if (const auto* i = std::get_if<std::int64_t>(&value)) {
    out.add_int64(3, *i);
    out.add_enum(20, 2);
  } else if (const auto* f = std::get_if<double>(&value)) {
    out.add_float(2, static_cast<float>(*f));
    out.add_enum(20, 1);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    out.add_bytes(4, *text);
    out.add_enum(20, 3);
  } else {
    for (const std::int64_t i : std::get<Ints>(value)) out.add_int64(8, i);
    out.add_enum(20, 7);
  }
}

void write(pbf_writer& graph, const Node& node) {
  pbf_writer out(graph, 1);
  for (auto& name : node.inputs) out.add_string(1, name);
  for (auto& name : node.outputs) out.add_string(2, name);
  out.add_string(3, node.outputs[0]);
  out.add_string(4, node.type);
  for (auto& [name, value] : node.attributes) write(out, name, value);
}

void write(pbf_writer& graph, const Constant& constant) {
  pbf_writer out(graph, 5);
  for (const std::int64_t size : constant.value.shape()) out.add_int64(1, size);
  out.add_int32(2, static_cast<std::int32_t>(type_number(constant.value.dtype())));
  out.add_string(8, constant.name);
  out.add_bytes(9, raw_bytes(constant.value));
}

void write(pbf_writer& graph, protozero::pbf_tag_type tag, const Port& port) {
  pbf_writer out(graph, tag);
  out.add_string(1, port.name);
  pbf_writer type(out, 2), tensor(type, 1);
  tensor.add_int32(1, static_cast<std::int32_t>(type_number(port.spec.dtype)));
  if (port.spec.shape.empty())
    return tensor.add_message(2, std::string());  // an empty shape: without it, the rank is unknown
  pbf_writer shape(tensor, 2);
  for (int i = 0; i < port.spec.shape.size(); ++i) {
    pbf_writer size(shape, 1);
    const std::string symbol = port.symbols.empty() ? "" : port.symbols[static_cast<std::size_t>(i)];
    if (symbol.empty())
      size.add_int64(1, port.spec.shape[i]);
    else
      size.add_string(2, symbol);
  }
}

}  // namespace

std::int64_t type_number(DType d) {
  constexpr std::int64_t numbers[] = {11, 1, 16, 10,
                                      7,  6, 2,  9};  // f64, f32, bf16, f16, i64, i32, u8, boolean
  return numbers[static_cast<int>(d)];
}

std::string raw_bytes(const Tensor& t) {
  const NoGrad quiet;
  const Tensor here = contiguous(to(t.detach(), Device::cpu()));
  const auto size = static_cast<std::size_t>(here.numel() * size_of(here.dtype()));
  return size == 0 ? std::string() : std::string(here.raw<char>(), size);
}

std::string encode(const Graph& g, int ir_version) {
  std::int64_t bytes = 1 << 20;  // for all but the constants
  for (auto& c : g.constants) bytes += c.value.numel() * size_of(c.value.dtype());
  if (bytes > std::numeric_limits<std::int32_t>::max())
    fail<ValueError>("save_onnx: ", bytes, " bytes are more than a protocol buffer holds");
  std::string data;
  data.reserve(static_cast<std::size_t>(bytes));
  pbf_writer model(data);
  model.add_int64(1, ir_version);
  model.add_string(2, "bobbin");
  {
    pbf_writer graph(model, 7);
    for (auto& node : g.nodes) write(graph, node);
    graph.add_string(2, "bobbin");
    for (auto& constant : g.constants) write(graph, constant);
    write(graph, 11, g.input);
    write(graph, 12, g.output);
  }
  pbf_writer set(model, 8);
  set.add_string(1, "");
  set.add_int64(2, g.opset);
  return data;
}

}  // namespace bobbin::onnx
