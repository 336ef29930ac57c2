// A plugin: an operation whose derivative is wrong by a factor of 1 + 1e-6, and a right model.
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>

using namespace bobbin;

namespace {

struct WrongCube {
  static constexpr std::string_view name = "plugin.wrong_cube";
  static constexpr Saves saves = Saves::inputs;
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0].detach() * square(x[0].detach())); }
  Grads vjp(const Vjp& v) const { return {v.grad * square(v.input(0)) * (3 * (1 + 1e-6))}; }
  static std::vector<Sample> samples() {
    return {
        {"it's 4x6", {uniform({4, 6}, -2, 2, DType::f64)}, [](Inputs x) { return record(WrongCube{}, x); }}};
  }
};

Sample model() {
  return {"two weights", {randn({2}, DType::f64)}, [](Inputs p) { return sum(exp(p[0]) * sin(p[0])); }};
}

}  // namespace

extern "C" void bobbin_register() {
  register_op<WrongCube>();
  register_model({"plugin.model", model});
}
