// The models of `gradcheck --model`, and register_model.
#include <bobbin/activation.h>
#include <bobbin/conv.h>
#include <bobbin/elementwise.h>
#include <bobbin/gradcheck.h>
#include <bobbin/loss.h>
#include <bobbin/matmul.h>
#include <bobbin/pool.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

namespace bobbin {
namespace {

Tensor weight(const Shape& shape) { return randn(shape, DType::f64) * 0.5; }
Tensor classes(std::int64_t rows, std::int64_t n) { return randint(0, n, {rows}); }

// A linear classifier with softmax: the smallest model.
Sample softmax_regression() {
  const Tensor x = randn({6, 5}, DType::f64), t = classes(6, 4);
  return {"[6,5] to 4 classes", {weight({4, 5}), weight({4})}, [x, t](Inputs p) {
            return cross_entropy(linear(x, p[0], p[1]), t);
          }};
}

Sample mlp() {
  const Tensor x = randn({6, 5}, DType::f64), t = classes(6, 4);
  return {"[6,5], 7 hidden, 4 classes",
          {weight({7, 5}), weight({7}), weight({4, 7}), weight({4})},
          [x, t](Inputs p) {
            return cross_entropy(linear(linear(x, p[0], p[1], Activation::gelu), p[2], p[3]), t);
          }};
}

Sample cnn() {
  const Tensor x = randn({3, 2, 6, 6}, DType::f64), t = classes(3, 4);
  return {"[3,2,6,6], 3 channels pooled by 2, 4 classes",
          {weight({3, 2, 3, 3}), weight({3}), weight({4, 27}), weight({4})},
          [x, t](Inputs p) {
            const Tensor h = avg_pool2d(gelu(conv2d(x, p[0], p[1], {.padding = 1})), 2);
            return cross_entropy(linear(reshape(h, {3, 27}), p[2], p[3]), t);
          }};
}

std::vector<ModelInfo>& models() {
  static std::vector<ModelInfo> all{{"softmax_regression", softmax_regression}, {"mlp", mlp}, {"cnn", cnn}};
  return all;
}

}  // namespace

std::vector<ModelInfo> all_models() { return models(); }

void register_model(ModelInfo model) {
  for (auto& m : models())
    if (m.name == model.name)
      fail<ValueError>("register_model: '", model.name, "' is taken; choose another name");
  models().push_back(model);
}

}  // namespace bobbin
