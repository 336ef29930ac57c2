// The arguments of derivatives: which tensors the tape keeps (Saves), which inputs need a gradient (Needs),
// and Vjp, from which a derivative reads them.
#pragma once
#include <bobbin/tape.h>

#include <cstdint>
#include <span>
#include <vector>

namespace bobbin {

/// An operation's operands. An undefined one stands for an optional operand that is not given.
using Inputs = std::span<const Tensor>;
using Grads = std::vector<Tensor>;  ///< one per input; undefined: no gradient

/// Which inputs need a gradient. Inputs from number 62 on share a bit.
struct Needs {
  std::uint64_t bits = 0;  ///< bit(i) for input i
  /// The bit of input i.
  static constexpr std::uint64_t bit(int i) { return std::uint64_t{1} << (i < 62 ? i : 62); }
  /// Marks input i.
  constexpr void add(int i) { bits |= bit(i); }
  /// Whether any input needs one.
  constexpr bool any() const { return bits != 0; }
  /// Whether input i needs one.
  constexpr bool operator[](int i) const { return (bits & bit(i)) != 0; }
};

/// Which tensors the tape keeps for a derivative. `saves` may be a function of Needs: a product keeps one
/// factor only if the other needs a gradient.
struct Saves {
  std::uint64_t bits = 0;     ///< as in Needs for inputs; the highest one is the output's
  static const Saves none;    ///< nothing
  static const Saves output;  ///< the result
  static const Saves inputs;  ///< all inputs
  /// Input i alone.
  static constexpr Saves input(int i) { return {Needs::bit(i)}; }
  /// The union.
  friend constexpr Saves operator|(Saves a, Saves b) { return {a.bits | b.bits}; }
  /// Whether any of `s` is kept.
  constexpr bool has(Saves s) const { return (bits & s.bits) != 0; }
};
inline constexpr Saves Saves::none{0};
inline constexpr Saves Saves::output{std::uint64_t{1} << 63};
inline constexpr Saves Saves::inputs{~(std::uint64_t{1} << 63)};

/// The argument of a derivative: the cotangent of the output, and the tensors that the tape kept.
class Vjp {
 public:
  /// For the engine: `node` and the cotangent of its output. Both must outlive this.
  Vjp(Node& node, const Tensor& cotangent, bool is_one = false)
      : grad(cotangent), node_(node), is_one_(is_one) {}
  const Tensor& grad;  ///< the cotangent of the output, of its shape and dtype
  /// Whether `grad` is known to be the 1 that a backward pass without a given cotangent starts from.
  bool grad_is_one() const { return is_one_; }

  /// Saved input i. Throws GradError if it has been edited since; std::logic_error if `saves` does not name
  /// it.
  const Tensor& input(int i) const;
  /// The saved output; throws as input() does.
  Tensor output() const;
  /// Tensor i of `aux`, which the kernels wrote; throws as input() does.
  const Tensor& aux(int i) const;
  /// Whether input i was given and kept.
  bool has_input(int i) const { return bool(node_.inputs[static_cast<std::size_t>(i)].saved.tensor); }
  int count() const { return static_cast<int>(node_.inputs.size()); }  ///< of inputs
  /// Whether input i needs a gradient; if it does, its spec is known.
  bool needs(int i) const { return node_.inputs[static_cast<std::size_t>(i)].producer != nullptr; }
  /// The spec of input i, which must need a gradient or have been kept.
  const TensorSpec& spec(int i) const;
  /// An uninitialised gradient for each input that needs one; undefined for the others.
  Grads empty_grads() const;

 private:
  Node& node_;
  bool is_one_;
};

}  // namespace bobbin
