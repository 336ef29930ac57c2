// What a Group needs of an engine that carries bytes between processes: one function. Engines are TCP
// (tcp.cpp) and MPI (mpi.cpp, a module that is opened at run time).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace bobbin::dist {

/// Bytes to or from another rank.
struct Message {
  int peer;
  std::byte* data;
  std::size_t bytes;
  bool send;
};

/// An engine. Messages between two ranks arrive in the order in which they were sent.
class Transport {
 public:
  virtual ~Transport() = default;
  int rank = 0;
  int size = 1;
  int local_rank = 0;

  /// Sends and receives all messages, in any order between peers, and waits until they are done. Returns the
  /// rank of a peer that is lost or has not answered within `seconds`, or -1. After a loss the messages may
  /// still be written to until the process ends.
  virtual int exchange(std::span<const Message>, double seconds) = 0;
  /// Tells the other ranks, as far as it can, that `lost` is lost, so that they need not find out themselves.
  virtual void blame(int lost) = 0;
  /// Whether it has a sum of its own.
  virtual bool adds() const { return false; }
  /// Adds the n numbers of all ranks in place by that sum, f64 or f32. Returns as exchange does.
  virtual int all_reduce(void*, std::size_t /*n*/, bool /*f64*/, double /*seconds*/) { return -1; }
};

}  // namespace bobbin::dist
