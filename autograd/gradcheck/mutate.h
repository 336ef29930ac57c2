// Mistakes planted in derivatives, one at a time, to see whether the checks find them. No operation is
// edited: the walk's call of a derivative goes past a probe.
#pragma once
#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/probe.h"

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

/// RAII: while it lives, the derivative of the operation named `op` has the mistake on this thread: the first
/// one of every walk, so that two mistakes do not undo each other.
class Planted final : public detail::Probe {
 public:
  Planted(std::string_view op, Mistake mistake) : op_(op), mistake_(mistake) {}
  Grads derivative(Node&, const Vjp&) override;

  struct Seen {
    int calls = 0;    ///< of the derivative
    int changed = 0;  ///< of these, how many gave other numbers than the right ones
    /// Whether there were saved tensors, broadcast inputs, gradients that are not 0.
    bool keeps = false, repeats = false, nonzero = false;
  };
  const Seen& seen() const { return seen_; }

 private:
  Grads wrong(Node&, const Vjp&, const Grads& right);
  Grads overwritten(Node&, const Grads& right) const;

  std::string op_;
  Mistake mistake_;
  Seen seen_;
  std::uint64_t last_ = 0;  // the node that the walk was at
  bool done_ = false;       // whether this walk has its mistake
  std::vector<std::pair<std::uint64_t, std::uint64_t>>
      planted_;                                   // the mistakes' own operations: none has one
  std::unordered_map<const Node*, Tensor> sent_;  // what nodes got in this walk
};

/// What became of one mistake in one operation, sample by sample.
struct Mutant {
  std::string op;
  Mistake mistake;
  int killed = 0;                     ///< samples whose check failed
  int equivalent = 0;                 ///< samples where every gradient was, bit for bit, the right one
  std::vector<std::string> survived;  ///< samples whose check passed though a gradient was wrong
  std::string why = {};               ///< why it is equivalent in all samples
};

/// Plants every mistake in op's derivative and runs `passes` on each sample that has one, drawn from `seed`.
/// `more` is asked before each mutant whether there is time.
std::vector<Mutant> mutants(const OpInfo& op, std::uint64_t seed,
                            const std::function<bool(const Sample&)>& passes,
                            const std::function<bool()>& more);

struct MutationReport {
  std::vector<Mutant> mutants;
  int killed = 0;  ///< mutants: in every sample where they are not equivalent
  int survived = 0, equivalent = 0;
  std::vector<std::string> composites;  ///< made of other operations: no derivative of their own
  bool complete = true;                 ///< whether the budget sufficed
};
/// All mutants of all differentiable operations, for at most `budget` seconds.
MutationReport mutate(std::span<const OpInfo>, std::uint64_t seed, double budget,
                      const std::function<bool(const Sample&)>& passes);
/// What mutants have to pass: differences and dual numbers, both of first and second order, and that
/// gradients accumulate. What throws an Error does not pass.
bool passes(const Sample&, std::uint64_t seed);
/// The score of each operation, what survived, and what is equivalent, and why.
void print(const MutationReport&);

}  // namespace bobbin::gradcheck_detail
