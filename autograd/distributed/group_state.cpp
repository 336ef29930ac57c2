// The steps of collectives: comparing the calls, exchanging bytes, adding over the tree of shards.
#include "autograd/distributed/group_state.h"

#include <cstring>
#include <sstream>

namespace bobbin::dist {
namespace {

template<std::size_t n>
void write(char (&to)[n], std::string_view text) {
  text.copy(to, n - 1);
}

}  // namespace

Call::Call(std::string_view name, std::string_view for_what, int root_rank) : root(root_rank) {
  write(op, name);
  write(what, for_what);
}

Call::Call(std::string_view name, std::string_view for_what, const TensorSpec& spec, int root_rank)
    : Call(name, for_what, root_rank) {
  dtype = static_cast<std::int64_t>(spec.dtype);
  axes = spec.shape.size();
  for (int i = 0; i < spec.shape.size(); ++i) sizes[i] = spec.shape[i];
}

std::string Call::text() const {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << op << " number " << sequence;
  if (what[0]) out << " (" << what << ")";
  if (dtype >= 0)
    out << " of " << static_cast<DType>(dtype) << Shape(std::span(sizes, static_cast<std::size_t>(axes)));
  if (root != 0) out << " from rank " << root;
  return out.str();
}

}  // namespace bobbin::dist

namespace bobbin::dist::detail {

// After a loss the engine may still use its messages: they are kept until the process ends.
GroupState::~GroupState() {
  if (lost.empty()) return;
  static Kept* first = nullptr;
  kept->transport = std::move(transport);
  kept->calls = std::move(all_calls);
  kept->outgoing = std::move(outgoing);
  kept->incoming = std::move(incoming);
  kept->next = first;
  first = kept.release();
}

void GroupState::lose(const Call& call, int peer) {
  std::ostringstream message;
  message.imbue(std::locale::classic());
  message << "dist: rank " << peer << " is lost: it has died, hangs, or did not come within " << timeout
          << " s to " << call.text() << "; this is rank " << rank << " of " << size
          << ". Start again from the last checkpoint; init's timeout says how long to wait";
  lost = message.str();
  lost_rank = peer;
  transport->blame(peer);
  throw PeerLost(lost, peer);
}

void GroupState::exchange(const Call& call, const std::vector<Message>& messages) {
  if (const int peer = transport->exchange(messages, timeout); peer >= 0) lose(call, peer);
}

void GroupState::begin(Call& call) {
  if (!lost.empty()) throw PeerLost(lost, lost_rank);
  call.sequence = ++calls;
  all_calls.assign(static_cast<std::size_t>(size), call);
  std::vector<Message> messages;
  for (int peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    auto* const theirs = reinterpret_cast<std::byte*>(&all_calls[static_cast<std::size_t>(peer)]);
    auto* const mine = reinterpret_cast<std::byte*>(&all_calls[static_cast<std::size_t>(rank)]);
    messages.push_back({peer, theirs, sizeof(Call), false});
    messages.push_back({peer, mine, sizeof(Call), true});
  }
  exchange(call, messages);
  for (int peer = 1; peer < size; ++peer) {
    const Call &first = all_calls[0], &other = all_calls[static_cast<std::size_t>(peer)];
    if (std::memcmp(&first, &other, sizeof(Call)) == 0) continue;
    bobbin::fail<ValueError>(
        "dist: rank 0 calls ", first.text(), ", but rank ", peer, " calls ", other.text(),
        "; all ranks must call the same collectives in the same order, with the same shapes");
  }
}

const std::byte* GroupState::gather(const Call& call, const std::byte* mine, std::size_t bytes) {
  std::byte* const all = incoming.get(bytes * static_cast<std::size_t>(size));
  std::byte* const copy = outgoing.get(bytes);
  const auto at = [&](int peer) { return all + bytes * static_cast<std::size_t>(peer); };
  if (bytes == 0) return all;
  std::memcpy(copy, mine, bytes);
  std::memcpy(at(rank), mine, bytes);
  std::vector<Message> messages;
  for (int peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    messages.push_back({peer, at(peer), bytes, false});
    messages.push_back({peer, copy, bytes, true});
  }
  exchange(call, messages);
  return all;
}

// Each rank adds a slice of the elements: it gets that slice of all terms, and sends the sum to all. The
// elements of a few kilobytes are sent whole, and each rank adds all of them.
void GroupState::reduce(const Call& call, DType dtype, std::int64_t shards,
                        const std::vector<const std::byte*>& mine, std::int64_t elements, std::byte* out) {
  const std::int64_t each = size_of(dtype);
  const bool whole = elements * each <= 8192;
  const auto slice = [&](int peer) { return whole ? Range{0, elements} : part_of(elements, peer, size); };
  const auto bytes = [&](const Range& r) { return static_cast<std::size_t>((r.last - r.first) * each); };
  const Range own = slice(rank);

  std::vector<Term> terms;
  std::vector<Message> messages;
  std::vector<std::vector<Range>> nodes;
  std::size_t total = 0;
  for (int peer = 0; peer < size; ++peer) {
    nodes.push_back(cover(shards, part_of(shards, peer, size)));
    total += nodes.back().size();
  }
  std::byte* in = incoming.get(total * bytes(own));
  for (int peer = 0; peer < size; ++peer)
    for (std::size_t i = 0; i < nodes[static_cast<std::size_t>(peer)].size(); ++i) {
      const Range& node = nodes[static_cast<std::size_t>(peer)][i];
      if (peer == rank) {
        terms.push_back({node, mine[i] + own.first * each});
      } else {
        messages.push_back({peer, in, bytes(own), false});
        terms.push_back({node, in});
        in += bytes(own);
      }
    }
  // An engine only reads what it sends.
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank)
      for (const std::byte* term : mine) {
        const Range theirs = slice(peer);
        messages.push_back({peer, const_cast<std::byte*>(term) + theirs.first * each, bytes(theirs), true});
      }
  if (elements == 0) return;
  if (!messages.empty()) exchange(call, messages);
  add_terms(dtype, shards, terms, own.last - own.first, out + own.first * each);
  if (whole || size == 1) return;

  messages.clear();
  for (int peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    const Range theirs = slice(peer);
    messages.push_back({peer, out + theirs.first * each, bytes(theirs), false});
    messages.push_back({peer, out + own.first * each, bytes(own), true});
  }
  exchange(call, messages);
}

}  // namespace bobbin::dist::detail
