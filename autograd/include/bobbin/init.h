// Initialisers: each overwrites a tensor's elements in place, outside the tape, and returns it, so that
// nn::init::kaiming_normal_(conv.weight) is all a model needs. Random ones draw from the default generator.
// The fan-in of a weight [out, in, k...] is in times the product of k, its fan-out is out times that product.
// Initialisers that need them throw ShapeError for fewer than two axes; all throw DTypeError for integers.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin::nn::init {

/// What keeps the variance the same through an activation: sqrt(2) for relu, sqrt(2 / (1 + slope^2)) for a
/// leaky one, 5/3 for tanh, 1 for linear and sigmoid.
enum class Nonlinearity { linear, sigmoid, tanh, relu, leaky_relu };
/// The gain of one of them.
double calculate_gain(Nonlinearity, double negative_slope = 0.01);

/// Which fan's variance is kept: that of the forward pass or that of the gradients.
enum class Fan {
  in,  ///< forwards
  out  ///< backwards
};
/// How weights follow their fans.
struct KaimingOptions {
  Fan fan = Fan::in;                 ///< which one
  double gain = 1.4142135623730951;  ///< calculate_gain of the activation behind; that of relu unless given
};

/// All elements alike.
Tensor& constant_(Tensor&, double value);
/// Uniform on [low, high).
Tensor& uniform_(Tensor&, double low = 0, double high = 1);
/// A normal distribution.
Tensor& normal_(Tensor&, double mean = 0, double std = 1);
/// A normal distribution cut to [low, high]. Throws ValueError where less than a hundredth of it lies there.
Tensor& trunc_normal_(Tensor&, double mean = 0, double std = 1, double low = -2, double high = 2);
/// Of variance gain^2 2 / (fan-in + fan-out) (Glorot and Bengio, AISTATS 2010).
Tensor& xavier_uniform_(Tensor&, double gain = 1);
/// The same, normal.
Tensor& xavier_normal_(Tensor&, double gain = 1);
/// Of variance gain^2 / fan (He et al., arXiv:1502.01852).
Tensor& kaiming_uniform_(Tensor&, const KaimingOptions& = {});
/// The same, normal.
Tensor& kaiming_normal_(Tensor&, const KaimingOptions& = {});
/// Rows, or columns where there are fewer of them, that are orthogonal and of length `gain`, for a weight
/// seen as [out, all the rest] (Saxe, McClelland and Ganguli, arXiv:1312.6120).
Tensor& orthogonal_(Tensor&, double gain = 1);

}  // namespace bobbin::nn::init
