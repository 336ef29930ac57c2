// What an operation is, and record(), which runs one. A struct defines an operation: its attributes are
// fields, and its members are
//
//   static constexpr std::string_view name;      errors begin with it, too
//   static constexpr Saves saves;                the tensors that its derivative reads (or: Saves
//                                                saves(Needs) const); without this member, none
//   TensorSpec infer(Inputs) const;              every check, and the result's spec; no mathematics
//   void cpu(Inputs, Tensor& out) const;         the kernels; `out` is fresh, row-major and uninitialised
//   void cuda(Inputs, Tensor& out) const;        optional
//   Grads vjp(const Vjp&) const;                 the derivative, written with public operations (ops.h)
//   static std::vector<Sample> samples();        calls that the tests and the gradient checker make
//
// These are optional:
//
//   static constexpr Strided strided;            inputs that kernels read by their strides; the kernels get
//                                                the others row-major
//   static constexpr bool any_device = true;     inputs may be on different devices
//   std::vector<TensorSpec> aux(Inputs) const;   tensors that the kernels write for the derivative, besides
//                                                the output. The kernels take a further std::span<Tensor>,
//                                                which is empty if nothing is recorded
//   std::optional<Grads> fused_vjp_cpu(const Vjp&) const;
//   std::optional<Grads> fused_vjp_cuda(const Vjp&) const;
//                                                the same gradients as vjp, in fewer passes over memory.
//                                                Called before vjp, if the derivative itself is not recorded
//                                                and its cotangent is on that device and not empty. If it
//                                                returns nullopt, vjp is called
//
// A view operation has `Tensor view(const Tensor& x) const` in place of infer and the kernels. One whose
// derivative is on another tape has `Tensor replay(const Vjp&) const` in place of vjp: the backward pass
// continues through the tensor that it returns. An operation with vjp or replay is differentiable; one that
// has neither declares `static constexpr bool differentiable = false`.
#pragma once
#include <bobbin/sample.h>
#include <bobbin/vjp.h>

#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace bobbin {

/// Which inputs the kernels of each device read by their strides; the others are made row-major for them.
struct Strided {
  std::uint64_t cpu = 0;         ///< as in Needs
  std::uint64_t cuda = 0;        ///< as in Needs
  static const Strided all;      ///< all inputs, on every device
  static const Strided on_cuda;  ///< all inputs on GPUs, none on the CPU
  /// The bit of input i.
  static constexpr std::uint64_t input(int i) { return Needs::bit(i); }
  /// Whether kernels of `d` read input i by its strides.
  constexpr bool has(int i, Device d) const { return ((d.is_cpu() ? cpu : cuda) & input(i)) != 0; }
};
inline constexpr Strided Strided::all{~std::uint64_t{0}, ~std::uint64_t{0}};
inline constexpr Strided Strided::on_cuda{0, ~std::uint64_t{0}};

/// An operation that returns a view of its input's storage.
template<class T>
concept ViewOperator = requires(const T& op, const Tensor& x) {
  { op.view(x) } -> std::same_as<Tensor>;
};
/// An operation whose kernels write further tensors for the derivative.
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
/// An operation whose derivative is a function.
template<class T>
concept HasVjp = requires(const T& op, const Vjp& v) {
  { op.vjp(v) } -> std::same_as<Grads>;
};
/// An operation whose derivative computes the output again, on a new tape.
template<class T>
concept HasReplay = requires(const T& op, const Vjp& v) {
  { op.replay(v) } -> std::same_as<Tensor>;
};
/// An operation that has a derivative.
template<class T>
concept Differentiable = HasVjp<T> || HasReplay<T>;
/// An operation with a fused derivative on the CPU.
template<class T>
concept HasFusedVjpCpu = requires(const T& op, const Vjp& v) {
  { op.fused_vjp_cpu(v) } -> std::same_as<std::optional<Grads>>;
};
/// An operation with a fused derivative on GPUs.
template<class T>
concept HasFusedVjpCuda = requires(const T& op, const Vjp& v) {
  { op.fused_vjp_cuda(v) } -> std::same_as<std::optional<Grads>>;
};
/// An operation that declares a kernel for GPUs.
template<class T>
concept HasCuda = requires(const T& op, Inputs x, Tensor& y) {
  op.cuda(x, y);
}
|| requires(const T& op, Inputs x, Tensor& y, std::span<Tensor> aux) { op.cuda(x, y, aux); };
/// An operation that declares that it has no derivative.
template<class T>
concept DeclaredConstant = requires {
  requires !T::differentiable;
};

/// A type that `record` accepts: it has a name, kernels or a view, and a derivative or the declaration that
/// there is none.
template<class T>
concept Operator = std::copy_constructible<T> && requires {
  { T::name } -> std::convertible_to<std::string_view>;
} &&(ViewOperator<T> || (ComputeOperator<T> &&
                         requires(const T& op, Inputs x) {
                           { op.infer(x) } -> std::same_as<TensorSpec>;
                         })) &&
    (Differentiable<T> || DeclaredConstant<T>);

namespace detail {
[[noreturn]] void no_cuda_kernel(std::string_view op);
[[noreturn]] void unreachable(std::string_view op);
}  // namespace detail

/// An operation with its type erased. A default here holds for an operation without that member.
class OpBase {
 public:
  virtual ~OpBase() = default;
  /// As in the operation's struct.
  virtual std::string_view name() const = 0;
  /// A node that holds a copy of the operation.
  virtual std::shared_ptr<Node> make_node(const TensorSpec&) const = 0;
  /// Whether view() takes the place of infer() and run().
  virtual bool is_view() const { return false; }
  /// Which inputs kernels read by their strides.
  virtual Strided strided() const { return {}; }
  /// Whether it has a derivative.
  virtual bool differentiable() const { return true; }
  /// Whether inputs may be on different devices.
  virtual bool any_device() const { return false; }
  /// The tensors that the tape keeps, given which inputs need a gradient.
  virtual Saves saves(Needs) const { return Saves::none; }
  /// The view of x.
  virtual Tensor view(const Tensor&) const { detail::unreachable(name()); }
  /// Checks the inputs, and gives the result's spec.
  virtual TensorSpec infer(Inputs) const { detail::unreachable(name()); }
  /// The specs of the tensors that the kernels write for the derivative.
  virtual std::vector<TensorSpec> aux(Inputs) const { return {}; }
  /// Runs the kernel of the output's device; `aux` is empty if nothing is recorded.
  virtual void run(Inputs, Tensor&, std::span<Tensor>) const { detail::unreachable(name()); }
  /// The gradient of each input from the gradient of the output, by a fused derivative if there is one.
  virtual Grads vjp(const Vjp&) const { detail::unreachable(name()); }
  /// Computes the output again, on a new tape; undefined if the operation has vjp() instead.
  virtual Tensor replay(const Vjp&) const { return {}; }
};

namespace detail {

/// A node and its operation in one allocation.
template<class Model>
struct OpNode final : Node {
  OpNode(const TensorSpec& s, const Model& m) : Node(s), model(m) { op = &model; }
  Model model;
};

/// A node that holds a copy of the operation.
template<class Model>
std::shared_ptr<Node> make_op_node(const TensorSpec& spec, const Model& model) {
  return std::allocate_shared<OpNode<Model>>(NodeAllocator<OpNode<Model>>(), spec, model);
}

/// Puts `out` on the tape as the result of `op` on `inputs`.
void attach(const OpBase& op, Inputs inputs, Tensor& out, std::span<const Tensor> aux = {});

template<Operator T>
class OpModel final : public OpBase {
 public:
  explicit OpModel(T op) : op_(std::move(op)) {}
  const T& op() const { return op_; }
  std::string_view name() const override { return T::name; }
  bool is_view() const override { return ViewOperator<T>; }
  bool differentiable() const override { return Differentiable<T>; }
  Strided strided() const override {
    if constexpr (requires { T::strided; }) return T::strided;
    return {};
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
      if constexpr (!built_with_cuda || !HasCuda<T>)
        no_cuda_kernel(T::name);
      else if constexpr (AuxOperator<T>)
        op_.cuda(x, y, aux);
      else
        op_.cuda(x, y);
    }
  }
  Grads vjp([[maybe_unused]] const Vjp& v) const override {
    if constexpr (HasVjp<T>) {
      if (auto grads = fused_vjp(v)) return *std::move(grads);
      return op_.vjp(v);
    } else {
      unreachable(T::name);
    }
  }
  Tensor replay([[maybe_unused]] const Vjp& v) const override {
    if constexpr (HasReplay<T>)
      return op_.replay(v);
    else
      return {};
  }
  std::shared_ptr<Node> make_node(const TensorSpec& spec) const override { return make_op_node(spec, *this); }

 private:
  std::optional<Grads> fused_vjp([[maybe_unused]] const Vjp& v) const {
    if (grad_enabled() || v.grad.numel() == 0) return {};
    const bool on_cpu = v.grad.device().is_cpu();
    if constexpr (HasFusedVjpCpu<T>)
      if (on_cpu) return op_.fused_vjp_cpu(v);
    if constexpr (built_with_cuda && HasFusedVjpCuda<T>)
      if (!on_cpu) return op_.fused_vjp_cuda(v);
    return {};
  }

  T op_;
};

Tensor record(const OpBase&, Inputs);
}  // namespace detail

/// Runs the operation on the inputs and, if one of them needs a gradient, puts it on the tape. An undefined
/// input stands for an optional argument that is not given. Throws what `infer` throws, and DeviceError.
template<Operator T>
Tensor record(T op, Inputs inputs) {
  return detail::record(detail::OpModel<T>(std::move(op)), inputs);
}
/// The same for tensors in braces.
template<Operator T>
Tensor record(T op, std::initializer_list<Tensor> inputs) {
  return record(std::move(op), Inputs(inputs.begin(), inputs.size()));
}

/// An entry of the catalogue.
struct OpInfo {
  std::string_view name;                       ///< unique in the catalogue
  bool has_cuda = false;                       ///< runs on GPUs, if the build has CUDA
  bool differentiable = false;                 ///< it is Differentiable
  std::vector<Sample> (*samples)() = nullptr;  ///< calls to test it with; null: none
};

/// The entry of the catalogue for T.
template<Operator T>
OpInfo op_info() {
  OpInfo info{T::name, HasCuda<T> || ViewOperator<T>, Differentiable<T>, nullptr};
  if constexpr (requires {
                  { T::samples() } -> std::same_as<std::vector<Sample>>;
                })
    info.samples = &T::samples;
  return info;
}

}  // namespace bobbin
