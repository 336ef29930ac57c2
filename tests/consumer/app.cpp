// A program outside the tree: its own operation, in the catalogue and under the gradient checker, and a
// model.
#include <bobbin/bobbin.h>

#include <iostream>

using namespace bobbin;

struct Cube {
  double scale = 1;
  static constexpr std::string_view name = "user.cube";
  static constexpr Saves saves = Saves::inputs;

  TensorSpec infer(Inputs x) const {
    if (x[0].dtype() != DType::f64) fail<DTypeError>(name, ": expected f64; got ", x[0].spec());
    return x[0].spec();
  }
  void cpu(Inputs x, Tensor& y) const {
    const auto in = x[0].data<double>();
    const auto out = y.mutable_data<double>();
    for (std::size_t i = 0; i < in.size(); ++i) out[i] = scale * in[i] * in[i] * in[i];
  }
  Grads vjp(const Vjp& v) const { return {v.grad * square(v.input(0)) * (3 * scale)}; }

  static std::vector<Sample> samples() {
    const auto call = [](Inputs x) { return record(Cube{2}, x); };
    return {{"2x3", {uniform({2, 3}, -2, 2, DType::f64)}, call},
            {"f32", {ones({2})}, call, "user.cube: expected f64; got f32[2]"}};
  }
};

int main(int argc, char** argv) {
  register_op<Cube>();
  manual_seed(1);
  const nn::Linear layer(2, 2);
  optim::Adam adam({layer.weight, layer.bias}, {.lr = .1});
  const Tensor x = tensor({{0, 1}, {1, 0}}), t = tensor({0, 1}, DType::i64);
  double loss = 0;
  for (int i = 0; i < 100; ++i) {
    adam.zero_grad();
    const Tensor l = cross_entropy(layer(x), t);
    backward(l);
    adam.step();
    loss = l.item();
  }
  if (!(loss < .05)) {
    std::cerr << "the model did not learn: loss " << loss << '\n';
    return 1;
  }
  try {  // the reader of CSV files needs libcsv
    read_csv("no such file");
    return 1;
  } catch (const IoError&) {
  }
  return gradcheck_main(argc, argv);
}
