// The state of a Group, and the steps that its collectives are made of.
#pragma once
#include <bobbin/distributed.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "autograd/distributed/transport.h"
#include "autograd/distributed/tree.h"

namespace bobbin::dist {

/// Memory that is kept for the next use, and not initialised.
class Scratch {
 public:
  /// At least `bytes` bytes; what was there before is lost.
  std::byte* get(std::size_t bytes) {
    if (bytes > size_) {
      bytes_.reset();
      bytes_.reset(new std::byte[size_ = bytes]);
    }
    return bytes_.get();
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0;
};

/// What a rank is about to do. Ranks compare these bytes.
struct Call {
  char op[16] = {};
  char what[48] = {};
  std::uint64_t sequence = 0;
  std::int64_t dtype = -1;  ///< -1: no tensor
  std::int64_t axes = 0;
  std::int64_t sizes[max_rank] = {};
  std::int64_t root = 0;

  Call(std::string_view name, std::string_view for_what, int root_rank = 0);
  Call(std::string_view name, std::string_view for_what, const TensorSpec&, int root_rank = 0);
  std::string text() const;
};

}  // namespace bobbin::dist

namespace bobbin::dist::detail {

/// What a group leaves behind after a loss, in a list.
struct Kept {
  std::unique_ptr<Transport> transport;
  std::vector<Call> calls;
  Scratch outgoing, incoming;
  Kept* next = nullptr;
};

struct GroupState {
  int rank = 0, size = 1, local_rank = 0;
  double timeout = 30;
  std::unique_ptr<Transport> transport;  // null: alone
  std::uint64_t calls = 0;
  std::string lost;  // the message of PeerLost, after a loss
  int lost_rank = 0;
  // Messages are in these, which live as long as the process after a loss: an engine may still write to them.
  std::vector<Call> all_calls;
  Scratch outgoing, incoming;
  std::unique_ptr<Kept> kept = std::make_unique<Kept>();  // a destructor has no memory to ask for

  ~GroupState();
  /// Compares the call with those of all ranks; gives it its number. Throws ValueError or PeerLost.
  void begin(Call&);
  /// Sends and receives. Throws PeerLost.
  void exchange(const Call&, const std::vector<Message>&);
  /// The bytes of each rank, one behind the other, in `incoming`.
  const std::byte* gather(const Call&, const std::byte* mine, std::size_t bytes);
  /// The sum over the tree of `shards`: `mine` has the elements of the nodes that this rank has, and so has
  /// every other rank for its shards. Writes all elements to `out`.
  void reduce(const Call&, DType, std::int64_t shards, const std::vector<const std::byte*>& mine,
              std::int64_t elements, std::byte* out);
  /// Throws PeerLost from now on.
  [[noreturn]] void lose(const Call&, int peer);
};

}  // namespace bobbin::dist::detail
