// Samples of the convolutions.
#include "ops/samples.h"

#include <cmath>

#include "ops/conv/conv.h"

namespace bobbin {
namespace {

struct Setting {
  const char* note;
  Shape x, weight;
  ConvOptions options;
};

std::vector<Setting> settings() {
  return {{"3x3", {2, 2, 4, 5}, {3, 2, 3, 3}, {}},
          {"padded", {1, 2, 3, 3}, {2, 2, 3, 3}, {.padding = {1, 2}}},
          {"strided", {1, 1, 5, 6}, {2, 1, 2, 3}, {.stride = {2, 3}, .padding = 1}},
          {"dilated", {1, 1, 6, 5}, {1, 1, 3, 2}, {.padding = {1, 0}, .dilation = {2, 3}}},
          {"groups", {2, 4, 3, 2}, {4, 2, 2, 2}, {.groups = 2}},
          {"depthwise", {1, 3, 3, 3}, {3, 1, 2, 2}, {.padding = 1, .groups = 3}},
          // Rows of outputs that are whole registers on the CPU, in f64 and in f32.
          {"rows of 4", {2, 2, 4, 6}, {5, 2, 2, 3}, {}},
          {"rows of 8, padded", {1, 2, 3, 8}, {2, 2, 3, 3}, {.padding = 1}},
          {"rows of 24", {1, 1, 3, 26}, {2, 1, 2, 3}, {}},
          {"1x1", {2, 3, 2, 3}, {2, 3, 1, 1}, {}},
          {"one pixel", {1, 1, 1, 1}, {1, 1, 1, 1}, {}},
          {"stride beyond the kernel", {1, 1, 5, 5}, {1, 1, 1, 2}, {.stride = 3}}};
}

ConvShape shape_of(const Setting& s) { return conv_shape("sample", s.options, s.x, s.weight); }

// Samples of one of the three operations; a and b give the shapes of its inputs, make(s) its call.
template<class Make>
std::vector<Sample> samples_of(Shape (ConvShape::*a)() const, Shape (ConvShape::*b)() const, Make make) {
  std::vector<Sample> out;
  for (auto& setting : settings()) {
    const ConvShape s = shape_of(setting);
    out.push_back({setting.note, {sample_input((s.*a)()), sample_input((s.*b)())}, make(s)});
  }
  const ConvShape none = conv_shape("sample", {}, {0, 2, 3, 3}, {2, 2, 2, 2}),
                  large = conv_shape("sample", {.stride = 2, .padding = 1}, {20, 3, 17, 19}, {8, 3, 3, 3}),
                  narrow = conv_shape("sample", {}, {37, 3, 9, 10}, {6, 3, 3, 3});
  out.push_back({"no images", {sample_input((none.*a)()), sample_input((none.*b)())}, make(none)});
  out.push_back(
      {"many images", {sample_input((large.*a)()), sample_input((large.*b)())}, make(large), {}, false});
  out.push_back({"many images, stride 1",
                 {sample_input((narrow.*a)()), sample_input((narrow.*b)())},
                 make(narrow),
                 {},
                 false});
  return out;
}

}  // namespace

std::vector<Sample> Conv2d::samples() {
  auto v = samples_of(&ConvShape::x, &ConvShape::weight, [](const ConvShape& s) {
    return [o = s.options](Inputs x) { return conv2d(x[0], x[1], {}, o); };
  });
  v.push_back(batch({"a batch", {sample_input({3, 2, 3, 3}), sample_input({2, 2, 2, 2})}, [](Inputs x) {
                       return conv2d(x[0], x[1], {}, {.padding = 1});
                     }}));
  v.push_back({"bias",
               {sample_input({2, 2, 3, 3}), sample_input({3, 2, 2, 2}), sample_input({3})},
               [](Inputs x) { return conv2d(x[0], x[1], x[2]); }});
  v.push_back({"conv1d", {sample_input({2, 2, 7}), sample_input({3, 2, 3}), sample_input({3})}, [](Inputs x) {
                 return conv1d(x[0], x[1], x[2], {.stride = 2, .padding = 1});
               }});
  const auto activated = [](Activation a, const ConvOptions& o) {
    return [=](Inputs x) { return conv2d(x[0], x[1], x.size() > 2 ? x[2] : Tensor(), o, a); };
  };
  const std::pair<const char*, Activation> smooth[] = {{"gelu", Activation::gelu},
                                                       {"tanh", Activation::tanh},
                                                       {"sigmoid", Activation::sigmoid},
                                                       {"silu", Activation::silu}};
  // Small sums: far below 0, gelu is the difference of two nearly equal numbers.
  for (auto& [note, activation] : smooth)
    v.push_back({note,
                 {sample_input({1, 2, 3, 3}), sample_input({2, 2, 2, 2}, -.3, .3), sample_input({2}, -1, 1)},
                 activated(activation, {.padding = 1})});
  v.push_back({"silu, no bias",
               {sample_input({1, 2, 3, 4}), sample_input({2, 1, 2, 2})},
               activated(Activation::silu, {.stride = 2, .groups = 2})});
  // Keeps relu away from its kink: the biases are large compared with the sums.
  const std::pair<const char*, ConvOptions> gates[] = {{"relu", {}},
                                                       {"relu, padded", {.padding = 1}},
                                                       {"relu, groups", {.padding = {1, 0}, .groups = 2}},
                                                       {"relu, dilated", {.padding = 2, .dilation = {2, 1}}},
                                                       {"relu, strided", {.stride = 2, .padding = 1}}};
  for (auto& [note, o] : gates)
    v.push_back({note,
                 {sample_input({2, 2, 4, 3}, -.1, .1), sample_input({4, 2 / o.groups, 2, 2}, -1, 1),
                  tensor({1, -1, 1, -1}, DType::f64)},
                 activated(Activation::relu, o)});
  v.push_back({"relu, no bias",
               {sample_input({2, 1, 3, 4}, .5, 1), tensor({{{{1, 2}}}, {{{-1, -2}}}}, DType::f64)},
               activated(Activation::relu, {})});
  v.push_back({"relu, many images",
               {sample_input({20, 3, 17, 19}), sample_input({8, 3, 3, 3}), sample_input({8})},
               activated(Activation::relu, {.padding = 1}),
               {},
               false});
  v.push_back({"relu of NaN",
               {tensor({{{{-1, std::nan(""), 2}}}}, DType::f64), tensor({{{{1}}}}, DType::f64)},
               activated(Activation::relu, {.padding = 1}),
               {},
               false});
  v.push_back(invalid(
      "channels", {sample_input({1, 3, 4, 4}), sample_input({2, 2, 3, 3})},
      [](Inputs x) { return conv2d(x[0], x[1]); },
      "conv2d: channels do not fit 1 group; got x [1,3,4,4] and weight [2,2,3,3]"));
  v.push_back(invalid(
      "kernel", {sample_input({1, 2, 2, 4}), sample_input({2, 2, 3, 3})},
      [](Inputs x) { return conv2d(x[0], x[1]); },
      "conv2d: the kernel is larger than the padded image; got x [1,2,2,4] and weight [2,2,3,3]"));
  v.push_back(invalid(
      "bias", {sample_input({1, 2, 4, 4}), sample_input({2, 2, 3, 3}), sample_input({3})},
      [](Inputs x) { return conv2d(x[0], x[1], x[2], {}, Activation::relu); },
      "conv2d: expected a bias [2]; got f64[3]"));
  v.push_back(invalid(
      "stride", {sample_input({1, 2, 4, 4}), sample_input({2, 2, 3, 3})},
      [](Inputs x) { return conv2d(x[0], x[1], {}, {.stride = 0}); },
      "conv2d: expected stride and dilation of at least 1, and padding of at least 0, below 2^31"));
  return v;
}

std::vector<Sample> Conv2dInputGrad::samples() {
  auto v = samples_of(&ConvShape::y, &ConvShape::weight, [](const ConvShape& s) {
    return [o = s.options, size = Pair(s.h, s.w)](Inputs x) { return record(Conv2dInputGrad{o, size}, x); };
  });
  v.push_back({"conv_transpose2d",
               {sample_input({2, 3, 2, 3}), sample_input({3, 2, 3, 3}), sample_input({2})},
               [](Inputs x) { return conv_transpose2d(x[0], x[1], x[2], {.stride = 2, .padding = 1}, 1); }});
  v.push_back(invalid(
      "size", {sample_input({1, 2, 3, 3}), sample_input({2, 2, 2, 2})},
      [](Inputs x) {
        return record(Conv2dInputGrad{{}, 5}, x);
      },
      "conv2d_input_grad: expected g [1,2,4,4] for images of 5 x 5; got f64[1,2,3,3]"));
  v.push_back(invalid(
      "output padding", {sample_input({1, 2, 3, 3}), sample_input({2, 2, 2, 2})},
      [](Inputs x) { return conv_transpose2d(x[0], x[1], {}, {}, 1); },
      "conv_transpose2d: output_padding must be less than the stride or the dilation"));
  return v;
}

std::vector<Sample> Conv2dWeightGrad::samples() {
  auto v = samples_of(&ConvShape::x, &ConvShape::y, [](const ConvShape& s) {
    return [o = s.options, size = Pair(s.kh, s.kw)](Inputs x) {
      return record(Conv2dWeightGrad{o, size}, x);
    };
  });
  v.push_back(invalid(
      "size", {sample_input({1, 2, 5, 5}), sample_input({1, 3, 3, 3})},
      [](Inputs x) {
        return record(Conv2dWeightGrad{{}, 2}, x);
      },
      "conv2d_weight_grad: expected g [1,3,4,4]; got f64[1,3,3,3]"));
  return v;
}

}  // namespace bobbin
