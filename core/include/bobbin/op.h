// What an operation is. One struct defines it: its attributes are fields, and its members are
//
//   static constexpr std::string_view name;      also how errors begin
//   static constexpr Saves saves;                what its derivative reads (or: Saves saves(Needs) const)
//   TensorSpec infer(Inputs) const;              every check, and the result's spec; no mathematics
//   void cpu(Inputs, Tensor& out) const;         the kernels; `out` is fresh, row-major and uninitialised
//   void cuda(Inputs, Tensor& out) const;        optional
//   Grads vjp(const Vjp&) const;                 written with public operations (ops.h)
//   static std::vector<Sample> samples();        calls the tests and the gradient checker make
//
// A view operation has `Tensor view(const Tensor& x) const` in place of infer and the kernels. One without a
// derivative says `static constexpr bool differentiable = false`. One whose kernels read strides says
// `static constexpr bool strided = true`; the others get contiguous inputs. One that leaves the derivative
// something besides inputs and output has `std::vector<TensorSpec> aux(Inputs) const`, and its kernels take a
// further `std::span<Tensor>`, empty when nothing is recorded. One whose derivative is that of another tape
// has `Tensor replay(const Vjp&) const` in place of vjp: the walk goes on through the tensor it returns.
#pragma once
#include <bobbin/tape.h>

#include <concepts>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bobbin {

/// An operation's operands. An undefined one was left out.
using Inputs = std::span<const Tensor>;
using Grads = std::vector<Tensor>;  ///< one an input; undefined: no gradient

/// Which inputs need a gradient. Those from the 63rd on share a bit.
struct Needs {
  std::uint64_t bits = 0;  ///< bit(i) for input i
  /// The bit of input i.
  static constexpr std::uint64_t bit(int i) { return std::uint64_t{1} << (i < 62 ? i : 62); }
  /// Says that input i needs one.
  constexpr void add(int i) { bits |= bit(i); }
  /// Whether any input needs one.
  constexpr bool any() const { return bits != 0; }
  /// Whether input i needs one.
  constexpr bool operator[](int i) const { return (bits & bit(i)) != 0; }
};

/// Which tensors the tape keeps for a derivative. `saves` may be a function of what is needed: a product
/// keeps one factor only where the other needs a gradient.
struct Saves {
  std::uint64_t bits = 0;     ///< as in Needs for inputs; the highest one is the output's
  static const Saves none;    ///< nothing
  static const Saves output;  ///< the result
  static const Saves inputs;  ///< all inputs
  /// Input i alone.
  static constexpr Saves input(int i) { return {Needs::bit(i)}; }
  /// What either keeps.
  friend constexpr Saves operator|(Saves a, Saves b) { return {a.bits | b.bits}; }
  /// Whether any of `s` is kept.
  constexpr bool has(Saves s) const { return (bits & s.bits) != 0; }
};
inline constexpr Saves Saves::none{0};
inline constexpr Saves Saves::output{std::uint64_t{1} << 63};
inline constexpr Saves Saves::inputs{~(std::uint64_t{1} << 63)};

/// What a derivative is computed from.
class Vjp {
 public:
  /// For the walk: `node` and the cotangent of its output. Both must outlive this.
  Vjp(Node& node, const Tensor& grad, bool is_one = false) : grad(grad), node_(node), is_one_(is_one) {}
  const Tensor& grad;  ///< the cotangent of the output, of its shape and dtype
  /// Whether `grad` is known to be the 1 that a walk without a given cotangent starts from.
  bool grad_is_one() const { return is_one_; }

  /// Saved input i. Throws GradError when it was edited since; std::logic_error when `saves` leaves it out.
  const Tensor& input(int i) const;
  /// The saved output; throws as input() does.
  Tensor output() const;
  /// What the kernels left as aux i; throws as input() does.
  const Tensor& aux(int i) const;
  /// Whether input i was kept (and was not left out).
  bool has_input(int i) const { return bool(node_.inputs[static_cast<std::size_t>(i)].saved.tensor); }
  int count() const { return static_cast<int>(node_.inputs.size()); }  ///< of inputs
  /// Whether input i needs a gradient; if it does, its spec is known.
  bool needs(int i) const { return node_.inputs[static_cast<std::size_t>(i)].producer != nullptr; }
  /// The spec of input i, where it needs a gradient or was kept.
  const TensorSpec& spec(int i) const;

 private:
  Node& node_;
  bool is_one_;
};

/// One call of an operation, for the tests and the checkers. Random inputs come from the default generator,
/// so that a fresh seed gives fresh inputs.
struct Sample {
  std::string note;                    ///< what is special, for reports
  std::vector<Tensor> inputs;          ///< those that derivatives are taken by
  std::function<Tensor(Inputs)> call;  ///< the operation on them
  /// The message the call must throw, for an invalid call; what follows is then unused.
  std::string throws = {};
  /// Whether derivatives are compared with finite differences here: false at kinks and at infinities.
  bool differentiable = true;
  /// At kinks of the first input: the derivative that is documented for each of its elements. The gradient
  /// must be the cotangent, which must broadcast to the input, times this, and lie between the one-sided
  /// slopes.
  Tensor at_kinks = {};
  /// Whether rows of the first input, along its first axis, make the rows of the result each by itself.
  bool batch = false;
};

/// An operation that gives another view of its input's storage.
template<class T>
concept ViewOperator = requires(const T& op, const Tensor& x) {
  { op.view(x) } -> std::same_as<Tensor>;
};
/// An operation whose kernels leave the derivative tensors of their own.
template<class T>
concept AuxOperator = requires(const T& op, Inputs x, Tensor& y, std::span<Tensor> aux) {
  { op.aux(x) } -> std::same_as<std::vector<TensorSpec>>;
  op.cpu(x, y, aux);
};
/// An operation that has a kernel for the CPU.
template<class T>
concept ComputeOperator = AuxOperator<T> || requires(const T& op, Inputs x, Tensor& y) {
  op.cpu(x, y);
};
/// An operation with a derivative.
template<class T>
concept HasVjp = requires(const T& op, const Vjp& v) {
  { op.vjp(v) } -> std::same_as<Grads>;
};
/// An operation whose derivative is that of the tape it makes again.
template<class T>
concept HasReplay = requires(const T& op, const Vjp& v) {
  { op.replay(v) } -> std::same_as<Tensor>;
};
/// An operation that declares a kernel for GPUs.
template<class T>
concept HasCuda = requires(const T& op, Inputs x, Tensor& y) {
  op.cuda(x, y);
}
|| requires(const T& op, Inputs x, Tensor& y, std::span<Tensor> aux) { op.cuda(x, y, aux); };
/// An operation that says it has no derivative.
template<class T>
concept DeclaredConstant = requires {
  requires !T::differentiable;
};

/// What `record` takes: a name, kernels or a view, and a derivative or the word that there is none.
template<class T>
concept Operator = std::copy_constructible<T> && requires {
  { T::name } -> std::convertible_to<std::string_view>;
} &&(ViewOperator<T> || (ComputeOperator<T> &&
                         requires(const T& op, Inputs x) {
                           { op.infer(x) } -> std::same_as<TensorSpec>;
                         })) &&
    (HasVjp<T> || HasReplay<T> || DeclaredConstant<T>);

namespace detail {
[[noreturn]] void no_cuda_kernel(std::string_view op);
[[noreturn]] void unreachable(std::string_view op);
}  // namespace detail

/// An operation with its type erased. What a kind of operation does not have stays as it is here.
class OpBase {
 public:
  virtual ~OpBase() = default;
  /// As in the operation's struct.
  virtual std::string_view name() const = 0;
  /// A node that holds a copy of the operation.
  virtual std::shared_ptr<Node> make_node(const TensorSpec&) const = 0;
  /// Whether view() takes the place of infer() and run().
  virtual bool is_view() const { return false; }
  /// Whether kernels read strides; inputs are made contiguous for the others.
  virtual bool strided() const { return false; }
  /// Whether it has a derivative.
  virtual bool differentiable() const { return true; }
  /// Whether inputs may lie on different devices.
  virtual bool any_device() const { return false; }
  /// What the tape keeps, for these inputs that need a gradient.
  virtual Saves saves(Needs) const { return Saves::inputs; }
  /// The view of x.
  virtual Tensor view(const Tensor&) const { detail::unreachable(name()); }
  /// Checks the inputs, and gives the result's spec.
  virtual TensorSpec infer(Inputs) const { detail::unreachable(name()); }
  /// The specs of what the kernels leave the derivative.
  virtual std::vector<TensorSpec> aux(Inputs) const { return {}; }
  /// Runs the kernel of the output's device; `aux` is empty where nothing is recorded.
  virtual void run(Inputs, Tensor&, std::span<Tensor>) const { detail::unreachable(name()); }
  /// The gradient of each input, from that of the output.
  virtual Grads vjp(const Vjp&) const { detail::unreachable(name()); }
  /// The output computed again, on a tape of its own; undefined where vjp() is there instead.
  virtual Tensor replay(const Vjp&) const { return {}; }
};

namespace detail {

/// A node and its operation in one allocation.
template<class Model>
struct OpNode final : Node {
  OpNode(const TensorSpec& s, const Model& m) : Node(s), model(m) { op = &model; }
  Model model;
};

/// Puts `out` on the tape as what `op` made of `inputs`.
void attach(const OpBase& op, Inputs inputs, Tensor& out, std::span<const Tensor> aux = {});

template<Operator T>
class OpModel final : public OpBase {
 public:
  explicit OpModel(T op) : op_(std::move(op)) {}
  const T& op() const { return op_; }
  std::string_view name() const override { return T::name; }
  bool is_view() const override { return ViewOperator<T>; }
  bool differentiable() const override { return HasVjp<T> || HasReplay<T>; }
  bool strided() const override {
    if constexpr (requires { T::strided; }) return T::strided;
    return false;
  }
  bool any_device() const override {
    if constexpr (requires { T::any_device; }) return T::any_device;
    return false;
  }
  Saves saves([[maybe_unused]] Needs needs) const override {
    if constexpr (requires { op_.saves(needs); })
      return op_.saves(needs);
    else if constexpr (requires { T::saves; })
      return T::saves;
    else
      return Saves::none;
  }
  Tensor view([[maybe_unused]] const Tensor& x) const override {
    if constexpr (ViewOperator<T>)
      return op_.view(x);
    else
      unreachable(T::name);
  }
  TensorSpec infer([[maybe_unused]] Inputs x) const override {
    if constexpr (ViewOperator<T>)
      unreachable(T::name);
    else
      return op_.infer(x);
  }
  std::vector<TensorSpec> aux([[maybe_unused]] Inputs x) const override {
    if constexpr (AuxOperator<T>)
      return op_.aux(x);
    else
      return {};
  }
  void run([[maybe_unused]] Inputs x, Tensor& y, [[maybe_unused]] std::span<Tensor> aux) const override {
    if constexpr (ViewOperator<T>) {
      unreachable(T::name);
    } else if (y.device().is_cpu()) {
      if constexpr (AuxOperator<T>)
        op_.cpu(x, y, aux);
      else
        op_.cpu(x, y);
    } else {
#if BOBBIN_HAS_CUDA
      if constexpr (HasCuda<T> && AuxOperator<T>)
        return op_.cuda(x, y, aux);
      else if constexpr (HasCuda<T>)
        return op_.cuda(x, y);
#endif
      no_cuda_kernel(T::name);
    }
  }
  Grads vjp([[maybe_unused]] const Vjp& v) const override {
    if constexpr (HasVjp<T>)
      return op_.vjp(v);
    else
      unreachable(T::name);
  }
  Tensor replay([[maybe_unused]] const Vjp& v) const override {
    if constexpr (HasReplay<T>)
      return op_.replay(v);
    else
      return {};
  }
  std::shared_ptr<Node> make_node(const TensorSpec& spec) const override {
    return std::make_shared<OpNode<OpModel>>(spec, *this);
  }

 private:
  T op_;
};

Tensor record(const OpBase&, Inputs);
}  // namespace detail

/// Runs the operation on the inputs and, where one of them needs a gradient, puts it on the tape.
/// An undefined input is an optional one left out. Throws what `infer` throws, and DeviceError.
template<Operator T>
Tensor record(T op, Inputs inputs) {
  return detail::record(detail::OpModel<T>(std::move(op)), inputs);
}
/// The same of tensors in braces.
template<Operator T>
Tensor record(T op, std::initializer_list<Tensor> inputs) {
  return record(std::move(op), Inputs(inputs.begin(), inputs.size()));
}

/// An entry of the catalogue.
struct OpInfo {
  std::string_view name;                       ///< unique in the catalogue
  bool has_cuda = false;                       ///< runs on GPUs, as far as the build has CUDA
  bool differentiable = false;                 ///< has a `vjp`
  std::vector<Sample> (*samples)() = nullptr;  ///< calls to test it with; null: none
};

/// What the catalogue says of T.
template<Operator T>
OpInfo op_info() {
  OpInfo info{T::name, HasCuda<T> || ViewOperator<T>, HasVjp<T>, nullptr};
  if constexpr (requires {
                  { T::samples() } -> std::same_as<std::vector<Sample>>;
                })
    info.samples = &T::samples;
  return info;
}

}  // namespace bobbin
