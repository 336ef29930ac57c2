// Checks that a backward pass changes neither inputs nor saved tensors, and gives the same bits again.
#pragma once
#include <bobbin/gradcheck.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bobbin::gradcheck_detail {

/// A hash of x's shape and of the bits of its elements in row-major order.
std::uint64_t hash(const Tensor& x);
/// The hashes of all tensors that the tape behind ys saved. They change with every write, through any view.
std::vector<std::uint64_t> saved_hashes(std::span<const Tensor> ys);

/// The errors of calls and backward passes of f at these inputs; empty if there are none. Errors are: a pass
/// changes an input or a saved tensor, two passes do not give twice the gradient, a kernel writes beyond a
/// tensor, or `repeats` calls, on a GPU alternately in two streams, do not give the same bits.
struct Integrity {
  std::string failure;
  Verdict verdict = Verdict::pass;
};
Integrity check_integrity(const std::function<Tensor(Inputs)>& f, Inputs inputs, std::uint64_t seed,
                          int repeats);

}  // namespace bobbin::gradcheck_detail
