// ONNX's operators that move elements: shapes, slices, indices, padding.
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/view.h>

#include <algorithm>
#include <numeric>

#include "tests/onnx/operators.h"

namespace tests::onnx {
namespace {

using namespace bobbin;

std::vector<Tensor> one(Tensor t) { return {std::move(t)}; }

Ints sizes_of(const Tensor& x) { return {x.shape().begin(), x.shape().end()}; }

std::int64_t axis_of(std::int64_t axis, std::int64_t rank) { return axis < 0 ? axis + rank : axis; }

std::vector<Tensor> reshaped(const Call& c) {
  Ints wanted = c.list(1, "shape");
  if (c.node.integer("allowzero", 0) == 0)
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if (wanted[i] == 0) wanted[i] = c[0].size(static_cast<int>(i));
  return one(reshape(c[0], dims(wanted)));
}

std::vector<Tensor> flattened(const Call& c) {
  const Shape& s = c[0].shape();
  const auto axis = axis_of(c.node.integer("axis", 1), s.size());
  const std::int64_t rows =
      std::accumulate(s.begin(), s.begin() + axis, std::int64_t{1}, std::multiplies<>());
  return one(reshape(c[0], {rows, c[0].numel() / std::max<std::int64_t>(rows, 1)}));
}

std::vector<Tensor> squeezed(const Call& c) {
  Ints axes = c.list(1, "axes");
  if (axes.empty()) return one(squeeze(c[0]));
  for (auto& axis : axes) axis = axis_of(axis, c[0].rank());
  std::sort(axes.rbegin(), axes.rend());
  Tensor y = c[0];
  for (const auto axis : axes) y = squeeze(y, static_cast<int>(axis));
  return one(y);
}

std::vector<Tensor> unsqueezed(const Call& c) {
  Ints axes = c.list(1, "axes");
  for (auto& axis : axes) axis = axis_of(axis, c[0].rank() + static_cast<std::int64_t>(axes.size()));
  std::sort(axes.begin(), axes.end());
  Tensor y = c[0];
  for (const auto axis : axes) y = unsqueeze(y, static_cast<int>(axis));
  return one(y);
}

std::vector<Tensor> transposed(const Call& c) {
  Ints order = c.node.integers("perm");
  if (order.empty())
    for (int i = c[0].rank(); i-- > 0;) order.push_back(i);
  return one(permute(c[0], dims(order)));
}

std::vector<Tensor> expanded(const Call& c) {
  Ints wanted = c.list(1, ""), own = sizes_of(c[0]);
  const std::size_t rank = std::max(wanted.size(), own.size());
  wanted.insert(wanted.begin(), rank - wanted.size(), 1);
  own.insert(own.begin(), rank - own.size(), 1);
  for (std::size_t i = 0; i < rank; ++i)
    if (wanted[i] == 1) wanted[i] = own[i];
  return one(contiguous(expand(c[0], dims(wanted))));
}

std::vector<Tensor> tiled(const Call& c) {
  Tensor y = c[0];
  const Ints times = c.list(1, "");
  for (std::size_t i = 0; i < times.size(); ++i)
    y = concat(std::vector<Tensor>(static_cast<std::size_t>(times[i]), y), static_cast<int>(i));
  return one(y);
}

std::vector<Tensor> sliced(const Call& c) {
  const Ints starts = c.list(1, "starts"), ends = c.list(2, "ends"), steps = c.list(4, "steps");
  Ints axes = c.list(3, "axes");
  if (axes.empty()) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  Tensor y = c[0];
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t step = i < steps.size() ? steps[i] : 1;
    require(step > 0, "Slice backwards");
    y = slice(y, static_cast<int>(axes[i]), starts[i], ends[i], step);
  }
  return one(y);
}

std::vector<Tensor> parts(const Call& c) {
  const int axis = static_cast<int>(c.node.integer("axis", 0));
  Ints lengths = c.list(1, "split");
  const auto count = static_cast<std::int64_t>(c.node.outputs.size());
  if (lengths.empty()) {
    const std::int64_t size = c[0].size(axis), length = (size + count - 1) / count;
    for (std::int64_t at = 0; at < size; at += length) lengths.push_back(std::min(length, size - at));
  }
  std::vector<Tensor> out;
  std::int64_t at = 0;
  for (const auto length : lengths) {
    out.push_back(narrow(c[0], axis, at, length));
    at += length;
  }
  return out;
}

// Indices below 0 count from the end.
Tensor counted(const Tensor& index, std::int64_t size) {
  const Tensor i = to(index, DType::i64);
  return where(i < 0, i + static_cast<double>(size), i);
}

std::vector<Tensor> gathered(const Call& c) {
  const int axis = static_cast<int>(axis_of(c.node.integer("axis", 0), c[0].rank()));
  const Tensor index = counted(c[1], c[0].size(axis));
  const Tensor y = index_select(c[0], axis, reshape(index, {index.numel()}));
  Ints wanted = sizes_of(c[0]);
  const Ints inner = sizes_of(index);
  wanted.erase(wanted.begin() + axis);
  wanted.insert(wanted.begin() + axis, inner.begin(), inner.end());
  return one(reshape(y, dims(wanted)));
}

std::vector<Tensor> one_hots(const Call& c) {
  const auto classes = static_cast<std::int64_t>(c[1].item());
  const Tensor off_on = c[2];
  const Tensor y =
      where(one_hot(counted(c[0], classes), classes) > 0, select(off_on, 0, 1), select(off_on, 0, 0));
  return one(movedim(y, -1, static_cast<int>(c.node.integer("axis", -1))));
}

std::vector<Tensor> padded(const Call& c) {
  require(c.node.text("mode", "constant") == "constant", "Pad of another mode");
  require(!c.at(3), "Pad of some axes");
  const Ints pads = c.list(1, "pads");
  const std::size_t rank = pads.size() / 2;
  std::vector<std::pair<std::int64_t, std::int64_t>> both;
  for (std::size_t i = 0; i < rank; ++i) both.emplace_back(pads[i], pads[rank + i]);
  for (auto& [before, after] : both) require(before >= 0 && after >= 0, "Pad that cuts");
  return one(pad(c[0], both, c.number(2, c.node.number("value", 0))));
}

std::vector<Tensor> shape_of(const Call& c) {
  const auto rank = static_cast<std::int64_t>(c[0].rank());
  const auto bound = [&](const char* name, std::int64_t otherwise) {
    return std::clamp(axis_of(c.node.integer(name, otherwise), rank), std::int64_t{0}, rank);
  };
  const Ints all = sizes_of(c[0]);
  const auto start = bound("start", 0), end = std::max(start, bound("end", rank));
  return one(from_range(Ints(all.begin() + start, all.begin() + end)));
}

// Depth to space and back, for blocks of b x b pixels.
std::vector<Tensor> depth_to_space(const Call& c) {
  const auto b = c.node.integer("blocksize", 1), n = c[0].size(0), h = c[0].size(2), w = c[0].size(3),
             d = c[0].size(1) / (b * b);
  const bool column_row = c.node.text("mode", "DCR") == "CRD";
  const Tensor blocks = column_row ? permute(reshape(c[0], {n, d, b, b, h, w}), {0, 1, 4, 2, 5, 3})
                                   : permute(reshape(c[0], {n, b, b, d, h, w}), {0, 3, 4, 1, 5, 2});
  return one(reshape(blocks, {n, d, h * b, w * b}));
}

std::vector<Tensor> space_to_depth(const Call& c) {
  const auto b = c.node.integer("blocksize", 1), n = c[0].size(0), d = c[0].size(1), h = c[0].size(2) / b,
             w = c[0].size(3) / b;
  return one(reshape(permute(reshape(c[0], {n, d, h, b, w, b}), {0, 3, 5, 1, 2, 4}), {n, d * b * b, h, w}));
}

// Keeps the triangle of the last two axes.
std::vector<Tensor> triangle(const Call& c) {
  const auto offset = c.number(1, 0);
  const Tensor row = unsqueeze(arange(c[0].size(-2)), 1), column = arange(c[0].size(-1)) - offset;
  const Tensor kept = c.node.integer("upper", 1) ? column >= row : column <= row;
  return one(where(kept, c[0], zeros({}, c[0].dtype())));
}

std::vector<Tensor> constant(const Call& c) {
  if (c.node.has("value")) return one(c.node.attributes.at("value").tensor);
  if (c.node.has("value_float")) return one(full({}, c.node.number("value_float", 0)));
  if (c.node.has("value_int")) return one(from_range(Ints{c.node.integer("value_int", 0)}, Shape{}));
  require(c.node.has("value_ints"), "Constant of another kind");
  return one(from_range(c.node.integers("value_ints")));
}

}  // namespace

void add_shapes(Rules& r) {
  r["Reshape"] = reshaped;
  r["Flatten"] = flattened;
  r["Squeeze"] = squeezed;
  r["Unsqueeze"] = unsqueezed;
  r["Transpose"] = transposed;
  r["Expand"] = expanded;
  r["Tile"] = tiled;
  r["Slice"] = sliced;
  r["Split"] = parts;
  r["Gather"] = gathered;
  r["OneHot"] = one_hots;
  r["Pad"] = padded;
  r["Shape"] = shape_of;
  r["DepthToSpace"] = depth_to_space;
  r["SpaceToDepth"] = space_to_depth;
  r["Trilu"] = triangle;
  r["Constant"] = constant;
  r["Size"] = [](const Call& c) { return one(from_range(Ints{c[0].numel()}, Shape{})); };
  r["Concat"] = [](const Call& c) { return one(concat(c.in, static_cast<int>(c.node.integer("axis", 0)))); };
  r["GatherElements"] = [](const Call& c) {
    const int axis = static_cast<int>(c.node.integer("axis", 0));
    return one(gather(c[0], axis, counted(c[1], c[0].size(axis))));
  };
  r["ScatterElements"] = [](const Call& c) {
    require(c.node.text("reduction", "none") == "add", "ScatterElements that does not add");
    const int axis = static_cast<int>(c.node.integer("axis", 0));
    return one(scatter_add(c[0], axis, counted(c[1], c[0].size(axis)), c[2]));
  };
  r["ConstantOfShape"] = [](const Call& c) {
    const Tensor value = c.node.has("value") ? c.node.attributes.at("value").tensor : zeros({1});
    return one(contiguous(expand(reshape(value, {}), dims(c.list(0, "")))));
  };
  r["Range"] = [](const Call& c) {
    const Tensor y = arange(c[0].item(), c[1].item(), c[2].item(), c[0].dtype());
    return one(y);
  };
}

}  // namespace tests::onnx
