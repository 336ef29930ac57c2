// That a walk leaves things as they were, and gives the same bits again.
#pragma once
#include <bobbin/gradcheck.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// A hash of the bits of x's elements in row-major order, and of its shape.
std::uint64_t hash(const Tensor& x);
/// The hash of everything that the tape behind ys saved, by node and place; whoever wrote it, and through
/// whatever view.
std::vector<std::uint64_t> saved_hashes(std::span<const Tensor> ys);

/// What is wrong with calls and walks of f at these inputs; empty where all is well: that a walk changes an
/// input or what was saved, that two walks do not leave twice the gradient, that something is written beyond
/// a tensor, or that `repeats` calls, on a GPU by turns in two streams, do not give the same bits.
struct Integrity {
  std::string failure;
  Verdict verdict = Verdict::pass;
};
Integrity check_integrity(const std::function<Tensor(Inputs)>& f, Inputs inputs, std::uint64_t seed,
                          int repeats);

}  // namespace bobbin::gradcheck_detail
