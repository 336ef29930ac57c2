// An operation of your own, as a skeleton to copy: cap tanh(x / cap), which keeps logits in [-cap, cap]. The
// program trains a model with it, and then runs all checks of the gradient checker:
//   custom_op            trains, and checks all operations, this one among them
//   custom_op --op softcap
#include <bobbin/bobbin.h>

#include <cmath>
#include <iostream>

using namespace bobbin;

struct SoftCap {
  double cap = 30;                                     // attributes are fields
  static constexpr std::string_view name = "softcap";  // begins its error messages
  static constexpr Saves saves = Saves::output;        // all that the derivative reads

  // The result's shape and dtype, and every check.
  TensorSpec infer(Inputs x) const {
    if (!is_floating(x[0].dtype())) fail<DTypeError>(name, ": expected a floating dtype; got ", x[0].spec());
    if (!(cap > 0)) fail<ValueError>(name, ": expected cap > 0; got ", cap);
    return x[0].spec();
  }

  // The kernel. x is row-major, y is new and uninitialised. A kernel for GPUs would be a member `cuda`.
  void cpu(Inputs x, Tensor& y) const {
    visit(y.dtype(), [&]<class T>(Type<T>) {
      if constexpr (!std::is_integral_v<T>) {
        using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;  // 16-bit types in f32
        const auto in = x[0].data<T>();
        const auto out = y.mutable_data<T>();
        for (std::size_t i = 0; i < in.size(); ++i)
          out[i] = static_cast<T>(static_cast<Compute>(cap * std::tanh(static_cast<Compute>(in[i]) / cap)));
      }
    });
  }

  // dx = g (1 - (y / cap)^2), written with public operations, so that it has derivatives itself.
  Grads vjp(const Vjp& v) const { return {v.grad - v.grad * square(v.output() / cap)}; }

  // Calls for the checker: valid ones, and invalid ones with their messages.
  static std::vector<Sample> samples() {
    const auto with = [](double cap) { return [cap](Inputs x) { return record(SoftCap{cap}, x); }; };
    return {{"cap 1", {randn({2, 3}, DType::f64)}, with(1)},
            {"far out", {randn({4}, DType::f64) * 20}, with(30)},
            {"empty", {empty({0, 2}, DType::f64)}, with(1)},
            {"integers", {arange(3)}, with(1), "softcap: expected a floating dtype; got i64[3]"},
            {"cap 0", {ones({1}, DType::f64)}, with(0), "softcap: expected cap > 0; got 0"}};
  }
};

Tensor softcap(const Tensor& x, double cap = 30) { return record(SoftCap{cap}, {x}); }

int main(int argc, char** argv) {
  register_op<SoftCap>();

  manual_seed(1);
  const Tensor x = randn({64, 4}), classes = argmax(x, 1);
  nn::Sequential model(nn::Linear(4, 16), relu, nn::Linear(16, 4),
                       [](const Tensor& t) { return softcap(t, 5); });
  optim::Adam adam(nn::parameters(model), {.lr = .05});
  Tensor loss;
  for (int step = 0; step < 200; ++step) {
    loss = cross_entropy(model(x), classes);
    adam.zero_grad();
    backward(loss);
    adam.step();
  }
  std::cout << "trained with softcap: loss " << loss.item() << '\n';
  return gradcheck_main(argc, argv);
}
