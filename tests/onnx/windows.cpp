// ONNX's convolutions and poolings of images and sequences.
#include <bobbin/conv.h>
#include <bobbin/elementwise.h>
#include <bobbin/pool.h>
#include <bobbin/reduce.h>
#include <bobbin/view.h>

#include <limits>
#include <numeric>

#include "tests/onnx/operators.h"

namespace tests::onnx {
namespace {

using namespace bobbin;
using Tensors = std::vector<Tensor>;

// The options that convolutions and poolings share, for one or two axes; of sequences the height is 1.
struct Window {
  Pair kernel, stride, dilation;
  std::int64_t before[2], after[2];
  bool sequence;

  Window(const Call& c, Pair size) : kernel(size), stride(1), dilation(1), before{0, 0}, after{0, 0} {
    const int axes = c[0].rank() - 2;
    require(axes == 1 || axes == 2, c.node.type + " of " + std::to_string(axes) + " axes");
    require(c.node.integer("ceil_mode", 0) == 0, "ceil_mode");
    sequence = axes == 1;
    const auto pair = [&](const char* name) {
      const Ints v = c.node.integers(name, Ints(static_cast<std::size_t>(axes), 1));
      return sequence ? Pair(1, v[0]) : Pair(v[0], v[1]);
    };
    stride = pair("strides");
    dilation = pair("dilations");
    const std::string automatic = c.node.text("auto_pad", "NOTSET");
    const Ints pads = c.node.integers("pads", Ints(static_cast<std::size_t>(2 * axes), 0));
    for (int i = 0; i < 2; ++i) {
      if (sequence && i == 0) continue;
      const auto k = static_cast<std::size_t>(sequence ? 0 : i);
      if (automatic == "NOTSET" || automatic == "VALID") {
        before[i] = pads[k];
        after[i] = pads[k + static_cast<std::size_t>(axes)];
        continue;
      }
      const auto of = [i](Pair p) { return i == 0 ? p.h : p.w; };
      const std::int64_t in = c[0].size(2 + static_cast<int>(k)), out = (in + of(stride) - 1) / of(stride),
                         rest = std::max<std::int64_t>(
                             (out - 1) * of(stride) + (of(kernel) - 1) * of(dilation) + 1 - in, 0);
      before[i] = automatic == "SAME_LOWER" ? rest - rest / 2 : rest / 2;
      after[i] = rest - before[i];
    }
  }
  // Whether both sides have the same padding, of at most half a window, as poolings want it.
  bool even() const {
    return before[0] == after[0] && before[1] == after[1] && 2 * before[0] <= kernel.h &&
           2 * before[1] <= kernel.w;
  }
  bool none() const { return even() && before[0] == 0 && before[1] == 0; }

  // The images, with padding that differs between the sides put around them.
  Tensor images(const Tensor& x, double value) const {
    const Tensor y = sequence ? unsqueeze(x, 2) : x;
    if (even()) return y;
    const std::vector<std::pair<std::int64_t, std::int64_t>> pads{
        {0, 0}, {0, 0}, {before[0], after[0]}, {before[1], after[1]}};
    return pad(y, pads, value);
  }
  Pair padding() const { return even() ? Pair(before[0], before[1]) : Pair(0); }
  Tensors result(const Tensor& y) const { return {sequence ? squeeze(y, 2) : y}; }
};

Pair size_of_kernel(const Tensor& weight) {
  require(weight.rank() == 3 || weight.rank() == 4, "kernels of other ranks");
  return weight.rank() == 3 ? Pair(1, weight.size(2)) : Pair(weight.size(2), weight.size(3));
}

Pair kernel_shape(const Call& c) {
  const Ints k = c.node.integers("kernel_shape");
  require(k.size() == 1 || k.size() == 2, "windows of other ranks");
  return k.size() == 1 ? Pair(1, k[0]) : Pair(k[0], k[1]);
}

Tensors conv(const Call& c) {
  const Window w(c, size_of_kernel(c[1]));
  const Tensor weight = w.sequence ? unsqueeze(c[1], 2) : c[1];
  return w.result(conv2d(w.images(c[0], 0), weight, c.at(2),
                         {w.stride, w.padding(), w.dilation, c.node.integer("group", 1)}));
}

Tensors conv_transpose(const Call& c) {
  require(c.node.text("auto_pad", "NOTSET") == "NOTSET" && !c.node.has("output_shape"),
          "a wanted output shape");
  const Window w(c, size_of_kernel(c[1]));
  require(w.even(), "ConvTranspose with padding that differs between sides");
  Ints rest = c.node.integers("output_padding", Ints(w.sequence ? 1 : 2, 0));
  if (w.sequence) rest.insert(rest.begin(), 0);
  return w.result(conv_transpose2d(
      w.sequence ? unsqueeze(c[0], 2) : c[0], w.sequence ? unsqueeze(c[1], 2) : c[1], c.at(2),
      {w.stride, w.padding(), w.dilation, c.node.integer("group", 1)}, {rest[0], rest[1]}));
}

Tensors max_pool(const Call& c) {
  const Window w(c, kernel_shape(c));
  require(w.dilation == Pair(1) && is_floating(c[0].dtype()) && c.node.outputs.size() == 1,
          "options of MaxPool");
  return w.result(max_pool2d(w.images(c[0], -std::numeric_limits<double>::infinity()), w.kernel,
                             {w.stride, w.padding()}));
}

Tensors avg_pool(const Call& c) {
  const Window w(c, kernel_shape(c));
  require(w.dilation == Pair(1), "AveragePool with dilation");
  const auto pooled = [&](const Tensor& x) {
    return avg_pool2d(w.images(x, 0), w.kernel, {w.stride, w.padding()});
  };
  const Tensor y = pooled(c[0]);
  if (w.none() || c.node.integer("count_include_pad", 0) != 0) return w.result(y);
  return w.result(y / pooled(ones_like(c[0])));  // the share of each window that is not padding
}

Axes spatial(const Tensor& x) {
  Ints axes;
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return dims(axes);
}

}  // namespace

void add_windows(Rules& r) {
  r["Conv"] = conv;
  r["ConvTranspose"] = conv_transpose;
  r["MaxPool"] = max_pool;
  r["AveragePool"] = avg_pool;
  r["GlobalAveragePool"] = [](const Call& c) -> Tensors { return {mean(c[0], spatial(c[0]), true)}; };
  r["GlobalMaxPool"] = [](const Call& c) -> Tensors { return {amax(c[0], spatial(c[0]), true)}; };
}

}  // namespace tests::onnx
