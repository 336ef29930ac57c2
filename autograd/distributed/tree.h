// The order in which shards are added: a binary tree over 0 ... n-1 that depends on n alone. A node [first,
// last) of more than one shard has two children, of which the left one has the largest power of two below its
// size.
#pragma once
#include <bobbin/dtype.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bobbin::dist {

/// Shards [first, last).
struct Range {
  std::int64_t first, last;
  bool operator==(const Range&) const = default;
};

/// Where the right child of a node of more than one shard begins.
inline std::int64_t middle(const Range& node) {
  return node.first +
         static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(node.last - node.first - 1)));
}

/// The largest nodes of the tree over n shards that are within `part`, from left to right: what a rank that
/// has these shards can add by itself.
std::vector<Range> cover(std::int64_t n, const Range& part);

/// What a rank has of n shards, or of n elements.
inline Range part_of(std::int64_t n, int rank, int size) { return {n * rank / size, n * (rank + 1) / size}; }

/// A node of the tree and its elements.
struct Term {
  Range node;
  const std::byte* data;
};

/// out[i] = the sum of element i over the tree, for `elements` elements of each term. The terms divide the n
/// shards, from left to right. 16-bit floating types are added in f32 and rounded once; integers wrap; bool
/// is "or".
void add_terms(DType, std::int64_t n, const std::vector<Term>& terms, std::int64_t elements, std::byte* out);

}  // namespace bobbin::dist
