// Gradients that travel together.
#pragma once
#include <bobbin/tensor.h>

#include <string>
#include <vector>

namespace bobbin::dist {
namespace detail {
struct GroupState;
}

/// Tensors of one dtype, by their numbers.
struct Bucket {
  int number;
  std::vector<std::size_t> tensors;
};

/// Divides the tensors that are `present` into buckets: from the last to the first, as backward makes them, a
/// new bucket where the next tensor would exceed `bytes`.
std::vector<Bucket> buckets(const std::vector<TensorSpec>&, const std::vector<bool>& present,
                            std::int64_t bytes);

/// The sums over all shards of the tensors of one bucket. `terms` are those of this rank's nodes; undefined
/// ones count as nothing. `exact`: in the tree of shards; else by the engine, if it has that sum.
std::vector<Tensor> add_bucket(detail::GroupState&, std::int64_t shards, const std::vector<TensorSpec>&,
                               const std::vector<std::vector<Tensor>>& terms, const std::string& what,
                               bool exact);

}  // namespace bobbin::dist
