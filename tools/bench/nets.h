// The two networks whose training is measured, here and with PyTorch (train_epoch.py, mnist_peers.py).
#pragma once
#include <bobbin/bobbin.h>

#include <string>

namespace bench {

/// A layer and relu, in one operation.
template<class Layer>
struct Hidden {
  Layer layer;
  bobbin::Tensor operator()(const bobbin::Tensor& x) const { return layer(x, bobbin::Activation::relu); }
  void each(bobbin::nn::Visit& v) { v("layer", layer); }
};

/// 784-256-128-10 for "mlp", 784-256-10 for "mlp-small"; for "cnn", conv3x3x16, pool, conv3x3x32, pool and
/// 1568-10.
inline bobbin::nn::Sequential network(const std::string& name) {
  using namespace bobbin;
  const auto image = [](const Tensor& x) { return reshape(x, {-1, 1, 28, 28}); };
  const nn::Conv2dOptions same{{.padding = 1}};
  if (name == "cnn")
    return nn::Sequential(image, Hidden{nn::Conv2d(1, 16, 3, same)}, nn::MaxPool2d(2),
                          Hidden{nn::Conv2d(16, 32, 3, same)}, nn::MaxPool2d(2), nn::Flatten(),
                          nn::Linear(32 * 7 * 7, 10));
  if (name == "mlp-small") return nn::Sequential(Hidden{nn::Linear(784, 256)}, nn::Linear(256, 10));
  return nn::Sequential(Hidden{nn::Linear(784, 256)}, Hidden{nn::Linear(256, 128)}, nn::Linear(128, 10));
}

}  // namespace bench
