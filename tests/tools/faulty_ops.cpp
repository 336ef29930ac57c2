// A plugin whose operations and model break the rules: their kernels, samples and derivatives throw objects
// that are no exceptions of Bobbin's, or give another number of gradients than there are inputs. One more
// model computes something else in other processes.
#include <bobbin/elementwise.h>
#include <bobbin/gradcheck.h>
#include <bobbin/random.h>
#include <bobbin/reduce.h>
#include <unistd.h>

#include <stdexcept>

using namespace bobbin;

namespace {

struct Odd {};

// What the operations below share: they copy their input.
template<class Op>
struct Copy {
  TensorSpec infer(Inputs x) const { return x[0].spec(); }
  void cpu(Inputs x, Tensor& y) const { y.copy_(x[0].detach()); }
  Grads vjp(const Vjp& v) const { return {v.grad}; }
  static std::vector<Sample> samples() {
    return {{"caf\xe9\x01", {randn({2, 3}, DType::f64)}, [](Inputs x) { return record(Op{}, x); }}};
  }
};

struct ThrowsInt : Copy<ThrowsInt> {
  static constexpr std::string_view name = "faulty.throws_int";
  void cpu(Inputs, Tensor&) const { throw 42; }
};
struct ThrowsOdd : Copy<ThrowsOdd> {
  static constexpr std::string_view name = "faulty.throws_odd";
  Grads vjp(const Vjp&) const { throw Odd{}; }
};
struct ThreeGradients : Copy<ThreeGradients> {
  static constexpr std::string_view name = "faulty.three_gradients";
  Grads vjp(const Vjp& v) const { return {v.grad, v.grad, v.grad}; }
};
struct NoGradient : Copy<NoGradient> {
  static constexpr std::string_view name = "faulty.no_gradient";
  Grads vjp(const Vjp&) const { return {}; }
};
struct NoSamples : Copy<NoSamples> {
  static constexpr std::string_view name = "faulty.samples";
  static std::vector<Sample> samples() { throw std::runtime_error("the samples cannot be made"); }
};

}  // namespace

extern "C" void bobbin_register() {
  register_op<ThrowsInt>();
  register_op<ThrowsOdd>();
  register_op<ThreeGradients>();
  register_op<NoGradient>();
  register_op<NoSamples>();
  register_model({"faulty.model", []() -> Sample { throw 7; }});
  // For --ranks: another process has other gradients.
  static const pid_t loaded = getpid();
  register_model({"process.model", []() -> Sample {
                    return {"[3]", {randn({3}, DType::f64), randn({4}, DType::f64)}, [](Inputs p) {
                              return sum(p[0]) +
                                     sum(p[1] * p[1]) * (getpid() == loaded ? 1.0 : 1.0 + 0x1p-40);
                            }};
                  }});
}
