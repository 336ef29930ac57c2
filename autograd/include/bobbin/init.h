// Initialisers: each overwrites a tensor's elements in place, without recording, and returns the tensor:
// nn::init::kaiming_normal_(conv.weight). Random ones draw from the default generator. The fan-in of a weight
// [out, in, k...] is `in` times the product of k; its fan-out is `out` times that product. Initialisers that
// use the fans throw ShapeError for fewer than two axes; all throw DTypeError for integers, and ValueError
// for bounds, means and slopes that are not finite, and deviations and gains that are not finite or negative.
#pragma once
#include <bobbin/tensor.h>

namespace bobbin::nn::init {

/// Activations with a gain, the factor that keeps the variance the same: sqrt(2) for relu,
/// sqrt(2 / (1 + slope^2)) for leaky_relu, 5/3 for tanh, 1 for linear and sigmoid.
enum class Nonlinearity { linear, sigmoid, tanh, relu, leaky_relu };
/// The gain of an activation.
double calculate_gain(Nonlinearity, double negative_slope = 0.01);

/// The fan that sets the variance of a weight.
enum class Fan {
  in,  ///< keeps the variance of the forward pass
  out  ///< keeps the variance of the gradients
};
/// Options of the Kaiming initialisers.
struct KaimingOptions {
  Fan fan = Fan::in;                 ///< the fan that sets the variance
  double gain = 1.4142135623730951;  ///< calculate_gain of the activation that follows; by default, of relu
};

/// Sets all elements to `value`, of any dtype and also NaN.
Tensor& constant_(Tensor&, double value);
/// Uniform on [low, high).
Tensor& uniform_(Tensor&, double low = 0, double high = 1);
/// A normal distribution.
Tensor& normal_(Tensor&, double mean = 0, double std = 1);
/// A normal distribution truncated to [low, high]. Throws ValueError if the probability of this interval is
/// below 0.01.
Tensor& trunc_normal_(Tensor&, double mean = 0, double std = 1, double low = -2, double high = 2);
/// Uniform, with variance gain^2 2 / (fan-in + fan-out) (Glorot and Bengio, AISTATS 2010).
Tensor& xavier_uniform_(Tensor&, double gain = 1);
/// Normal, with the same variance.
Tensor& xavier_normal_(Tensor&, double gain = 1);
/// Uniform, with variance gain^2 / fan (He et al., arXiv:1502.01852).
Tensor& kaiming_uniform_(Tensor&, const KaimingOptions& = {});
/// Normal, with the same variance.
Tensor& kaiming_normal_(Tensor&, const KaimingOptions& = {});
/// For a weight as a matrix [out, product of the other sizes]: orthogonal rows (or columns, if there are
/// fewer of them) of length `gain` (Saxe, McClelland and Ganguli, arXiv:1312.6120).
Tensor& orthogonal_(Tensor&, double gain = 1);

}  // namespace bobbin::nn::init
