// TCP for the meeting of ranks. All sockets are non-blocking, so that poll() keeps the deadlines.
#include "autograd/distributed/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>

namespace bobbin::dist {
namespace {

// Waits until the socket can be read (POLLIN) or written (POLLOUT).
bool ready(const Socket& s, short event, Deadline deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    pollfd p{s.descriptor(), event, 0};
    const int n = poll(&p, 1, static_cast<int>(std::clamp<long>(left, 0, 1000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
    if (left <= 0) return false;
  }
}

void send_at_once(int descriptor) {
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

struct FreeAddresses {
  void operator()(addrinfo* a) const { freeaddrinfo(a); }
};

}  // namespace

Socket::~Socket() {
  if (descriptor_ >= 0) close(descriptor_);
}

Socket listen_on(int port) {
  Socket s(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1, off = 0;
  if (s) {
    setsockopt(s.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);  // IPv4, too
    setsockopt(s.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(static_cast<std::uint16_t>(port));
    if (bind(s.descriptor(), reinterpret_cast<sockaddr*>(&any), sizeof any) == 0 &&
        listen(s.descriptor(), 128) == 0)
      return s;
    if (errno == EADDRINUSE || errno == EACCES) return {};
  }
  // A machine without IPv6.
  Socket v4(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!v4) return {};
  setsockopt(v4.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(static_cast<std::uint16_t>(port));
  if (bind(v4.descriptor(), reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 ||
      listen(v4.descriptor(), 128) != 0)
    return {};
  return v4;
}

int port_of(const Socket& s) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  getsockname(s.descriptor(), reinterpret_cast<sockaddr*>(&own), &size);
  return ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(own).sin6_port
                                         : reinterpret_cast<sockaddr_in&>(own).sin_port);
}

std::string address_of(const Socket& s) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  char host[NI_MAXHOST] = {};
  getpeername(s.descriptor(), reinterpret_cast<sockaddr*>(&peer), &size);
  getnameinfo(reinterpret_cast<sockaddr*>(&peer), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

Socket accept_from(const Socket& listening, Deadline deadline) {
  while (ready(listening, POLLIN, deadline)) {
    const int s = accept4(listening.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (s >= 0) {
      send_at_once(s);
      return Socket(s);
    }
  }
  return {};
}

Socket connect_to(const std::string& host, int port, Deadline deadline) {
  while (std::chrono::steady_clock::now() < deadline) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) == 0) {
      const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
      for (const addrinfo* a = found; a; a = a->ai_next) {
        Socket s(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!s) continue;
        int error = connect(s.descriptor(), a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        if (error == EINPROGRESS && ready(s, POLLOUT, deadline)) {
          socklen_t size = sizeof error;
          getsockopt(s.descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
        }
        if (error != 0) continue;
        send_at_once(s.descriptor());
        return s;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return {};
}

bool send_all(const Socket& s, const void* data, std::size_t bytes, Deadline deadline) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = send(s.descriptor(), from, bytes, MSG_NOSIGNAL);
    if (n > 0) from += n, bytes -= static_cast<std::size_t>(n);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (n < 0 && !ready(s, POLLOUT, deadline)) return false;
  }
  return true;
}

bool receive_all(const Socket& s, void* data, std::size_t bytes, Deadline deadline) {
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = recv(s.descriptor(), to, bytes, 0);
    if (n == 0) return false;
    if (n > 0) to += n, bytes -= static_cast<std::size_t>(n);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (n < 0 && !ready(s, POLLIN, deadline)) return false;
  }
  return true;
}

}  // namespace bobbin::dist
