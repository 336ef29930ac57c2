// Mutation testing: makes mistakes in derivatives, one at a time, to test whether the checks find them. No
// operation is edited: a probe changes the gradients when the backward pass calls a derivative.
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
  element,      ///< the element smallest in magnitude, but not 0, becomes 0
  transposed,   ///< the last two axes exchanged
  cotangent,    ///< computed for a cotangent of ones
  broadcast,    ///< if an input is broadcast, the gradient of one copy instead of the sum
  overwritten,  ///< `=` for `+=`: earlier contributions to the input's gradient are lost
  stale,        ///< saved tensors of another call: their elements are moved by one position
  nan,          ///< one NaN
  row,          ///< rows moved by one
  doubled,
};
inline constexpr std::array mistakes{Mistake::zero,      Mistake::sign,        Mistake::factor,
                                     Mistake::element,   Mistake::transposed,  Mistake::cotangent,
                                     Mistake::broadcast, Mistake::overwritten, Mistake::stale,
                                     Mistake::nan,       Mistake::row,         Mistake::doubled};
std::string_view name(Mistake);

/// RAII: while it lives, the derivative of the operation named `op` has the mistake on this thread, at its
/// first call in each backward pass, so that two mistakes do not cancel.
class Planted final : public detail::Probe {
 public:
  Planted(std::string_view op, Mistake mistake) : op_(op), mistake_(mistake) {}
  Grads derivative(Node&, const Vjp&) override;

  struct Seen {
    int calls = 0;    ///< of the derivative
    int changed = 0;  ///< calls whose gradients the mistake changed
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
  std::uint64_t last_ = 0;  // the sequence number of the last node
  bool done_ = false;       // whether this backward pass has its mistake
  // Ranges of sequence numbers of the operations that compute the mistake; these operations get no mistake.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> planted_;
  std::unordered_map<const Node*, Tensor> sent_;  // the sum of the gradients that each node got in this pass
};

/// The results of one mistake in one operation, sample by sample.
struct Mutant {
  std::string op;
  Mistake mistake;
  int killed = 0;                     ///< samples whose check failed
  int equivalent = 0;                 ///< samples where every gradient had the right bits
  std::vector<std::string> survived;  ///< samples whose check passed although a gradient was wrong
  std::string why = {};               ///< why it is equivalent in all samples
};

struct MutationOptions {
  std::uint64_t seed = 1;  ///< of the samples
  double budget = 0;       ///< seconds after which no mutant is started; 0: no limit
  int jobs = 1;            ///< threads
};
struct MutationReport {
  std::vector<Mutant> mutants;
  int killed = 0;  ///< mutants that were found in every sample where they are not equivalent
  int survived = 0, equivalent = 0;
  std::vector<std::string> composites;  ///< composed of other operations, without a derivative
  bool complete = true;                 ///< whether the budget sufficed
};
/// Makes every mistake in the derivative of every differentiable operation, and runs `passes` on each sample
/// that has a derivative.
MutationReport mutate(std::span<const OpInfo>, const MutationOptions&,
                      const std::function<bool(const Sample&)>& passes);
/// Whether a sample passes the checks that must find mutants: finite differences and dual numbers, both of
/// first and second order, and accumulation of gradients. An Error counts as a failure.
bool passes(const Sample&, std::uint64_t seed);
/// Prints the score of each operation, the mutants that survived, and those that are equivalent, with
/// reasons.
void print(const MutationReport&);

}  // namespace bobbin::gradcheck_detail
