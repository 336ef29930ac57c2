// The few calls of TCP that ranks need to meet: listening, connecting, whole messages of a fixed size, each
// with a deadline.
#pragma once
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

namespace bobbin::dist {

using Deadline = std::chrono::steady_clock::time_point;

/// An open socket; closes it.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket();
  explicit operator bool() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

/// Listens on a port of all interfaces; 0: any free one. Not open if the port is taken.
Socket listen_on(int port);
/// The port of a listening socket.
int port_of(const Socket&);
/// The numeric address of the other end.
std::string address_of(const Socket&);
/// The next connection; not open after the deadline.
Socket accept_from(const Socket&, Deadline);
/// Connects, and tries again until the other side listens; not open after the deadline.
Socket connect_to(const std::string& host, int port, Deadline);
/// Sends or receives all bytes; false after the deadline, and if the connection ends.
bool send_all(const Socket&, const void*, std::size_t bytes, Deadline);
bool receive_all(const Socket&, void*, std::size_t bytes, Deadline);

}  // namespace bobbin::dist
