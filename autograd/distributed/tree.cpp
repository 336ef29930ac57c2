// Sums over the tree of shards, in blocks that stay in the cache.
#include "autograd/distributed/tree.h"

#include <bobbin/parallel.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "core/ceil_div.h"

namespace bobbin::dist {
namespace {

void add_cover(const Range& node, const Range& part, std::vector<Range>& out) {
  if (node.last <= part.first || part.last <= node.first) return;
  if (part.first <= node.first && node.last <= part.last) {
    out.push_back(node);
    return;
  }
  const std::int64_t m = middle(node);
  add_cover({node.first, m}, part, out);
  add_cover({m, node.last}, part, out);
}

constexpr std::int64_t block = 1024;

// The type that elements are added in.
template<class T>
struct Sum {
  using type = T;
};
template<>
struct Sum<BFloat16> {
  using type = float;
};
template<>
struct Sum<Half> {
  using type = float;
};
template<>
struct Sum<std::int64_t> {
  using type = std::uint64_t;
};
template<>
struct Sum<std::int32_t> {
  using type = std::uint32_t;
};

// Adds one block of `n` elements that begins at `first`. `next` is the first term of `node`, and moves behind
// its last one.
template<class T, class A = typename Sum<T>::type>
void add_block(const Range& node, std::vector<Term>::const_iterator& next, std::int64_t first, std::int64_t n,
               A* out) {
  if (next->node == node) {
    const T* const from = reinterpret_cast<const T*>(next->data) + first;
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<A>(from[i]);
    ++next;
    return;
  }
  const std::int64_t m = middle(node);
  add_block<T>({node.first, m}, next, first, n, out);
  std::array<A, block> right;
  add_block<T>({m, node.last}, next, first, n, right.data());
  for (std::int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<A, bool>)
      out[i] = out[i] | right[static_cast<std::size_t>(i)];
    else
      out[i] = static_cast<A>(out[i] + right[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

std::vector<Range> cover(std::int64_t n, const Range& part) {
  std::vector<Range> out;
  if (part.first < part.last) add_cover({0, n}, part, out);
  return out;
}

void add_terms(DType dtype, std::int64_t n, const std::vector<Term>& terms, std::int64_t elements,
               std::byte* out) {
  visit(dtype, [&]<class T>(Type<T>) {
    using A = typename Sum<T>::type;
    parallel_for(ceil_div(elements, block), [&](std::int64_t b) {
      const std::int64_t first = b * block, count = std::min(block, elements - first);
      std::array<A, block> total;
      auto next = terms.begin();
      add_block<T>({0, n}, next, first, count, total.data());
      T* const to = reinterpret_cast<T*>(out) + first;
      for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(total[static_cast<std::size_t>(i)]);
    });
  });
}

}  // namespace bobbin::dist
