// Attention as ONNX's own operator, which is there from opset 23 on.
#include "ops/attention/attention.h"

#include <cmath>

#include "autograd/onnx/rules.h"

namespace bobbin::onnx {

// Logits of 16-bit types are f32 in Bobbin, and f64 is more than runtimes compute in.
std::string attention(Graph& g, const AttentionTerms& terms, const Step& s) {
  const Tensor &query = s.x[0], &key = s.x[1], &mask = s.x[3];
  if (g.opset < 23 || s.dtype != DType::f32 || terms.dropout > 0 || !(terms.scale > 0) ||
      query.numel() == 0 || key.numel() == 0 || s.y.numel() == 0)
    return "";
  std::vector<std::string> in = s.in;
  if (!mask) {
    in.pop_back();
  } else if (const Shape sizes{query.size(2), key.size(2)};
             mask.rank() < 2 || mask.size(-2) != sizes[0] || mask.size(-1) != sizes[1]) {
    // The operator broadcasts masks; onnxruntime 1.30 does so along the axes before the last two alone.
    in[3] = g.add("Expand", {in[3], g.sizes(sizes)});
  }
  Attributes attributes;
  if (terms.causal) attributes.push_back({"is_causal", std::int64_t{1}});
  if (terms.scale != 1 / std::sqrt(static_cast<double>(query.size(3))))
    attributes.push_back({"scale", terms.scale});
  return g.add("Attention", in, attributes);
}

}  // namespace bobbin::onnx
