// save_onnx: models that it rejects, with the name of the operation, and that no partial file stays.
// open_onnx_test checks the contents of the files.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

namespace {

struct Onnx : tests::TemporaryDirectory {
  Onnx() : TemporaryDirectory("model.onnx") {}
  std::string bytes() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // The error's message; nothing must have been written.
  template<class E>
  std::string refused(const std::function<Tensor(const Tensor&)>& f, const Tensor& x,
                      const OnnxOptions& options = {}) const {
    std::string message = "no error";
    try {
      save_onnx(path, f, x, options);
    } catch (const E& e) {
      message = e.what();
    }
    EXPECT_TRUE(fs::is_empty(dir));
    return message;
  }
};

struct Net {
  nn::Linear out{3, 2};
  nn::Dropout drop{0.5};
  Tensor operator()(const Tensor& x) const { return drop(out(x, Activation::relu)); }
  void each(nn::Visit& v) { v("out", out), v("drop", drop); }
};

// A user's own operation, with the name of one that ONNX has.
struct Odd {
  static constexpr std::string_view name = "neg";
  static constexpr bool differentiable = false;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0]); }
};

TEST_F(Onnx, AModuleKeepsItsNames) {
  Net net;
  nn::eval(net);
  save_onnx(path, net, ones({4, 3}));
  for (const char* part : {"out.weight", "out.bias", "Gemm", "Relu", "input", "output"})
    EXPECT_THAT(bytes(), HasSubstr(part));
  EXPECT_FALSE(net.out.weight.grad());
  save_onnx(path, net, ones({4, 3}), {.names = {{"W", net.out.weight}}, .input = "x", .output = "y"});
  EXPECT_THAT(bytes(), HasSubstr("W"));
  EXPECT_THAT(bytes(), Not(HasSubstr("out.weight")));
  EXPECT_THAT(bytes(), Not(HasSubstr("input")));
}

TEST_F(Onnx, WhatOnnxCannotSayIsNamed) {
  EXPECT_EQ(refused<ValueError>(Net(), ones({1, 3})),
            "save_onnx: ONNX has no words for 'dropout'; call eval(model) first");
  EXPECT_EQ(refused<ValueError>([](const Tensor& x) { return record(Odd{}, {x}) * 2; }, ones({2})),
            "save_onnx: ONNX has no words for 'neg'");
  EXPECT_EQ(refused<ValueError>([](const Tensor& x) { return softmax(sum(x)); }, ones({2})),
            "save_onnx: ONNX has no words for 'softmax' of a scalar");
  EXPECT_THAT(refused<ValueError>([](const Tensor& x) { return mse_loss(x, x); }, ones({2})),
              HasSubstr("'mse_loss'"));
}

TEST_F(Onnx, WhatTheResultDoesNotNeedIsLeftOut) {
  save_onnx(
      path,
      [](const Tensor& x) {
        dropout(x);
        return x * exp(zeros({2}));
      },
      ones({2}));
  EXPECT_THAT(bytes(), HasSubstr("Mul"));
  EXPECT_THAT(bytes(), Not(HasSubstr("Exp")));
}

TEST_F(Onnx, EditsInPlaceAreRefused) {
  const auto of_result = [](const Tensor& x) {
    Tensor y = x * 2;
    y.fill_(3);
    return y + 1;
  };
  EXPECT_EQ(refused<ValueError>(of_result, ones({2})),
            "save_onnx: 'Mul' was edited in place during the call, which a file cannot hold");
  EXPECT_EQ(refused<ValueError>([](const Tensor& x) { return (x * 2).alias({1}, {1}, 0) + 1; }, ones({2})),
            "save_onnx: f32[1] is a view of a result that no operation made");
  Tensor steps = zeros({});
  const auto of_constant = [&](const Tensor& x) {
    const Tensor y = x + steps;
    steps.copy_(steps + 1);
    return y;
  };
  EXPECT_THAT(refused<ValueError>(of_constant, ones({2})), HasSubstr("edited in place"));
}

TEST_F(Onnx, ABatchSizeMayOnlyChangeSizes) {
  const OnnxOptions any{.open_axes = {0}};
  const auto f = [](const Tensor& x) { return reshape(sum(x, {1}), {1, x.size(0)}); };
  save_onnx(path, f, ones({1, 3}), any);
  EXPECT_THAT(bytes(), HasSubstr("ReduceSum"));
  fs::remove(path);
  EXPECT_THAT(refused<ValueError>([](const Tensor& x) { return x / static_cast<double>(x.size(0)); },
                                  ones({2, 3}), any),
              HasSubstr("open_axes cannot follow"));
  EXPECT_THAT(
      refused<ValueError>([](const Tensor& x) { return x.size(0) > 4 ? exp(x) : x; }, ones({2, 3}), any),
      HasSubstr("open_axes cannot follow"));
  // What remains in a reshape is computed by the runtime; sizes elsewhere must be linear.
  save_onnx(
      path,
      [](const Tensor& x) { return reshape(unsqueeze(x, 0) * unsqueeze(x, 1), {x.size(0) * x.size(0)}); },
      ones({3}), any);
  fs::remove(path);
  EXPECT_THAT(refused<ValueError>([](const Tensor& x) { return expand(sum(x), {x.size(0) * x.size(0)}); },
                                  ones({3}), any),
              HasSubstr("open_axes cannot follow"));
  EXPECT_THAT(refused<ValueError>([](const Tensor& x) { return slice(x, 0, 0, 8); }, ones({1, 3}), any),
              HasSubstr("a slice with bounds beyond the end of its axis"));
  save_onnx(
      path, [](const Tensor& x) { return slice(slice(x, 0, 1, x.size(0)), 1, 0, 8); }, ones({1, 3}), any);
  fs::remove(path);
  EXPECT_THAT(refused<ShapeError>([](const Tensor& x) { return -x; }, tensor(1), any),
              HasSubstr("open_axes wants an example with elements along axis 0; got f32[]"));
}

TEST_F(Onnx, OptionsAreChecked) {
  const auto f = [](const Tensor& x) { return mean(x, {1}); };
  EXPECT_THAT(refused<ValueError>(f, ones({2, 3}), {.opset = 16}), HasSubstr("opset from 17 to 23; got 16"));
  EXPECT_THAT(refused<ValueError>(f, ones({2, 3}), {.input = ""}), HasSubstr("must not be empty"));
  EXPECT_THAT(refused<ValueError>(f, ones({2, 3}), {.names = {{"", ones({})}}}),
              HasSubstr("must not be empty"));
  EXPECT_THAT(refused<ShapeError>(f, ones({2, 3}), {.open_axes = {2}}), HasSubstr("along axis 2"));
  EXPECT_THAT(refused<ShapeError>(f, ones({0, 3}), {.open_axes = {0}}), HasSubstr("along axis 0"));
}

TEST_F(Onnx, ErrorsPassAndAnOldFileStays) {
  save_onnx(
      path, [](const Tensor& x) { return -x; }, ones({2}));
  const std::string before = bytes();
  EXPECT_THROW(save_onnx(path, Net(), ones({2, 2})), ShapeError);
  EXPECT_EQ(bytes(), before);
  EXPECT_THROW(save_onnx(
                   dir / "none" / "m.onnx", [](const Tensor& x) { return -x; }, ones({2})),
               IoError);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 1);
}

TEST_F(Onnx, TheIdentityAndConstantsAreModels) {
  save_onnx(
      path, [](const Tensor& x) { return x; }, ones({2}, DType::bf16));
  EXPECT_THAT(bytes(), HasSubstr("Identity"));
  save_onnx(
      path,
      [](const Tensor&) {
        return ones({2, 3});
      },
      ones({2}));
  EXPECT_THAT(bytes(), HasSubstr("constant"));
}

}  // namespace
