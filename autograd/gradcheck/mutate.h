// Mistakes planted in derivatives, one at a time, to see whether the checks find them. No operation is
// edited: the walk's call of a derivative goes past a probe.
#pragma once
#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../../core/probe.h"

namespace bobbin::gradcheck_detail {

enum class Mistake {
  zero,         ///< no gradient
  sign,         ///< its negative
  factor,       ///< times 1 + 1e-6
  element,      ///< the element smallest in magnitude, but not 0, made 0
  transposed,   ///< the last two axes exchanged
  cotangent,    ///< computed for a cotangent of ones
  broadcast,    ///< of what broadcasting repeats, one copy's gradient alone
  overwritten,  ///< `=` for `+=`: what the input got before is lost
  stale,        ///< what was saved is of another call: rolled by one element
  nan,          ///< one NaN
  row,          ///< rows rolled by one
  doubled,
};
inline constexpr std::array mistakes{Mistake::zero,      Mistake::sign,        Mistake::factor,
                                     Mistake::element,   Mistake::transposed,  Mistake::cotangent,
                                     Mistake::broadcast, Mistake::overwritten, Mistake::stale,
                                     Mistake::nan,       Mistake::row,         Mistake::doubled};
std::string_view name(Mistake);

/// RAII: while it lives, the derivative of the operation named `op` has the mistake, on this thread.
class Planted final : public detail::Probe {
 public:
  Planted(std::string_view op, Mistake mistake) : op_(op), mistake_(mistake) {}
  Grads derivative(Node&, const Vjp&) override;

  int calls() const { return calls_; }      ///< of the derivative
  int changed() const { return changed_; }  ///< of these, how many gave other numbers than the right ones

 private:
  Grads wrong(Node&, const Vjp&, const Grads& right);
  Grads overwritten(Node&, const Grads& right) const;

  std::string op_;
  Mistake mistake_;
  int calls_ = 0, changed_ = 0;
  std::uint64_t last_ = ~std::uint64_t{0};        // the node that the walk was at
  std::unordered_map<const Node*, Tensor> sent_;  // what nodes got in this walk
};

/// What became of one mistake in one operation, sample by sample.
struct Mutant {
  std::string op;
  Mistake mistake;
  int killed = 0;
  int equivalent = 0;  ///< samples where every gradient was, bit for bit, the right one
  std::vector<std::string> survived;
  bool equivalent_everywhere() const { return killed == 0 && survived.empty(); }
  std::string why = {};  ///< where it is equivalent everywhere
};

/// Plants every mistake in op's derivative and runs `passes` on each sample that has one, drawn from `seed`.
/// `more` is asked before each mutant whether there is time.
std::vector<Mutant> mutants(const OpInfo& op, std::uint64_t seed,
                            const std::function<bool(const Sample&)>& passes,
                            const std::function<bool()>& more);

}  // namespace bobbin::gradcheck_detail
