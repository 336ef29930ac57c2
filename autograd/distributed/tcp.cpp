// TCP as an engine: one connection between each two ranks. It serves torchrun, and processes that are started
// with torchrun's variables by hand.
#include <bobbin/error.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <vector>

#include "autograd/distributed/engine.h"
#include "autograd/distributed/socket.h"

namespace bobbin::dist {
namespace {

using std::chrono::steady_clock;

// The first message of a connection, and an entry of the table of all ranks.
struct Hello {
  std::uint64_t magic = 0x3130'6e69'6262'6f42;  // "Bobbin01"
  std::int32_t rank = 0, size = 0, port = 0;
  char host[64] = {};  // as rank 0 sees it
};

// Before each message: its bytes, or with the highest bit the rank that the sender has lost.
using Header = std::uint64_t;
constexpr Header loss = Header{1} << 63;

// A connection to a rank: what is left to send and to receive.
struct Peer {
  Socket socket;
  std::vector<Message> out, in;
  std::size_t sending = 0, receiving = 0;  // the messages that are under way
  std::size_t sent = 0, received = 0;      // their bytes so far, the header's included
  Header header_out = 0, header_in = 0;
  bool open = true;

  bool done() const { return sending == out.size() && receiving == in.size(); }
};

class Tcp final : public Transport {
 public:
  Tcp(const Launch& launch, const std::string& host, int port, double seconds) {
    rank = launch.rank;
    size = launch.size;
    local_rank = launch.local_rank;
    meet(host, port,
         steady_clock::now() +
             std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(seconds)));
  }

  int exchange(std::span<const Message> messages, double seconds) override {
    for (Peer& p : peers_) {
      p.out.clear(), p.in.clear();
      p.sending = p.receiving = p.sent = 0;  // `received` may be a header that came early
    }
    for (const Message& m : messages) (m.send ? at(m.peer).out : at(m.peer).in).push_back(m);
    const auto deadline = steady_clock::now() + std::chrono::duration<double>(seconds);
    for (;;) {
      bool done = true;
      for (int i = 0; i < size; ++i) {
        if (i == rank) continue;
        if (const int lost = advance(i); lost >= 0) return lost;
        done = done && at(i).done();
      }
      if (done) return -1;
      const std::chrono::duration<double, std::milli> left = deadline - steady_clock::now();
      if (left.count() <= 0) return unfinished();
      wait(static_cast<int>(std::min(left.count() + 1, 1000.0)));
    }
  }

  void blame(int lost) override {
    const Header header = loss | static_cast<Header>(lost);
    for (int i = 0; i < size; ++i)
      // Within a message the other side would take it for a part; it then sees that the connection ends.
      if (i != rank && i != lost && at(i).sent == 0)
        send_all(at(i).socket, &header, sizeof header, steady_clock::now());
    for (int i = 0; i < size; ++i)
      if (i != rank) shutdown(at(i).socket.descriptor(), SHUT_WR);
  }

 private:
  Peer& at(int i) { return peers_[static_cast<std::size_t>(i)]; }

  // Sends and receives what the connection takes at once. Returns a rank that is lost, or -1.
  int advance(int i) {
    Peer& p = at(i);
    while (p.open && p.sending < p.out.size()) {
      const Message& m = p.out[p.sending];
      p.header_out = m.bytes;
      std::array<iovec, 2> parts;
      std::size_t count = 0;
      if (p.sent < sizeof(Header))
        parts[count++] = {reinterpret_cast<char*>(&p.header_out) + p.sent, sizeof(Header) - p.sent};
      const std::size_t body = p.sent < sizeof(Header) ? 0 : p.sent - sizeof(Header);
      parts[count++] = {m.data + body, m.bytes - body};
      msghdr message{};
      message.msg_iov = parts.data();
      message.msg_iovlen = count;
      const ssize_t n = sendmsg(p.socket.descriptor(), &message, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) {
        p.open = false;
        break;
      }
      p.sent += static_cast<std::size_t>(n);
      if (p.sent == sizeof(Header) + m.bytes) ++p.sending, p.sent = 0;
    }
    for (;;) {
      const bool expected = p.receiving < p.in.size();
      if (expected && p.received >= sizeof(Header) && p.header_in != p.in[p.receiving].bytes) return i;
      if (expected && p.received == sizeof(Header) + p.in[p.receiving].bytes) {
        ++p.receiving, p.received = 0;
        continue;
      }
      if (!expected && p.received >= sizeof(Header)) break;  // the rest is for a later call
      const bool head = p.received < sizeof(Header);
      void* const to = head ? reinterpret_cast<char*>(&p.header_in) + p.received
                            : static_cast<void*>(p.in[p.receiving].data + (p.received - sizeof(Header)));
      const std::size_t rest =
          head ? sizeof(Header) - p.received : p.in[p.receiving].bytes - (p.received - sizeof(Header));
      const ssize_t n = recv(p.socket.descriptor(), to, rest, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n <= 0) {
        p.open = false;
        break;
      }
      p.received += static_cast<std::size_t>(n);
      if (p.received == sizeof(Header) && (p.header_in & loss) != 0) {
        const int lost = static_cast<int>(p.header_in & ~loss);
        return lost == rank ? i : lost;
      }
    }
    return p.open || p.done() ? -1 : i;
  }

  // Waits until a connection can go on.
  void wait(int milliseconds) {
    std::vector<pollfd> all;
    for (int i = 0; i < size; ++i) {
      const Peer& p = at(i);
      if (i == rank || !p.open) continue;
      const bool early = p.receiving == p.in.size() && p.received >= sizeof(Header);
      const int events = (p.sending < p.out.size() ? POLLOUT : 0) | (early ? 0 : POLLIN);
      if (events) all.push_back({p.socket.descriptor(), static_cast<short>(events), 0});
    }
    poll(all.data(), all.size(), milliseconds);
  }

  int unfinished() {
    for (int i = 0; i < size; ++i)
      if (i != rank && at(i).receiving < at(i).in.size()) return i;
    for (int i = 0; i < size; ++i)
      if (i != rank && !at(i).done()) return i;
    return rank == 0 ? 1 : 0;
  }

  // Rank 0 hears where each rank listens, and tells all. Each rank then connects to those before it.
  void meet(const std::string& host, int port, Deadline deadline) {
    peers_.resize(static_cast<std::size_t>(size));
    const Socket listening = listen_on(rank == 0 ? port : 0);
    if (!listening)
      fail<Error>("dist::init: rank ", rank, " cannot listen",
                  rank == 0 ? " on MASTER_PORT " + std::to_string(port) + ": is another run using it?" : "",
                  "");
    std::vector<Hello> table(static_cast<std::size_t>(size));
    Hello own{.rank = rank, .size = size, .port = port_of(listening)};
    if (rank == 0) {
      accept_peers(listening, size - 1, table, deadline);
      for (int i = 1; i < size; ++i)
        if (!send_all(at(i).socket, table.data(), table.size() * sizeof(Hello), deadline)) missing({i});
      return;
    }
    at(0).socket = connect_to(host, port, deadline);
    if (!at(0).socket || !send_all(at(0).socket, &own, sizeof own, deadline) ||
        !receive_all(at(0).socket, table.data(), table.size() * sizeof(Hello), deadline))
      fail<Error>("dist::init: rank ", rank, " of ", size, " did not get through to rank 0 at MASTER_ADDR ",
                  host, ", port ", port,
                  ": are all ranks started, with the same variables, and is the port free and reachable?");
    for (int i = 1; i < rank; ++i) {
      const Hello& there = table[static_cast<std::size_t>(i)];
      at(i).socket = connect_to(there.host, there.port, deadline);
      if (!at(i).socket || !send_all(at(i).socket, &own, sizeof own, deadline)) missing({i});
    }
    accept_peers(listening, size - 1 - rank, table, deadline);
  }

  // Takes `count` connections from ranks above this one. Others than ranks may call on a port, too.
  void accept_peers(const Socket& listening, int count, std::vector<Hello>& table, Deadline deadline) {
    while (count > 0) {
      Socket s = accept_from(listening, deadline);
      Hello hello;
      const auto magic = hello.magic;
      if (!s) {
        std::vector<int> absent;
        for (int i = rank + 1; i < size; ++i)
          if (!at(i).socket) absent.push_back(i);
        missing(absent);
      }
      if (!receive_all(s, &hello, sizeof hello,
                       std::min(deadline, steady_clock::now() + std::chrono::seconds(5))) ||
          hello.magic != magic)
        continue;
      if (hello.size != size || hello.rank <= rank || hello.rank >= size || at(hello.rank).socket)
        fail<Error>("dist::init: a process says that it is rank ", hello.rank, " of ", hello.size,
                    "; this is rank ", rank, " of ", size, ", and each rank comes once");
      const std::string host = address_of(s);
      std::memset(hello.host, 0, sizeof hello.host);
      std::memcpy(hello.host, host.data(), std::min(host.size(), sizeof hello.host - 1));
      table[static_cast<std::size_t>(hello.rank)] = hello;
      at(hello.rank).socket = std::move(s);
      --count;
    }
  }

  [[noreturn]] void missing(const std::vector<int>& ranks) {
    std::string list;
    for (const int i : ranks) list += (list.empty() ? " " : ", ") + std::to_string(i);
    fail<Error>("dist::init: rank ", rank, " of ", size, " waited in vain for rank",
                ranks.size() == 1 ? "" : "s", list,
                ": are all ranks started, with the same MASTER_ADDR and MASTER_PORT?");
  }

  std::vector<Peer> peers_;
};

}  // namespace

std::unique_ptr<Transport> tcp_transport(const Launch& launch, const Environment& get, double seconds) {
  const char *const host = get("MASTER_ADDR"), *const port = get("MASTER_PORT");
  if (!host || !port)
    fail<ValueError>("dist::init: ", launch.launcher, "'s WORLD_SIZE is ", launch.size,
                     ", but MASTER_ADDR and MASTER_PORT, where ranks meet, are not both set");
  int number = 0;
  const auto [end, error] = std::from_chars(port, port + std::strlen(port), number);
  if (error != std::errc() || *end != '\0' || number < 1 || number > 65534)
    fail<ValueError>("dist::init: MASTER_PORT is '", port, "', which is no port");
  // torchrun itself listens on the port if it says so; ranks meet beside it.
  const char* const taken = get("TORCHELASTIC_USE_AGENT_STORE");
  if (taken && std::strcmp(taken, "True") == 0) ++number;
  return std::make_unique<Tcp>(launch, host, number, seconds);
}

}  // namespace bobbin::dist
