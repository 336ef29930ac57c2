// MPI as an engine: a module of its own, so that the library needs no MPI. It uses no symbol of the library.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "autograd/distributed/engine.h"

namespace bobbin::dist {
namespace {

constexpr int data_tag = 1, loss_tag = 2;
constexpr std::size_t chunk = std::size_t{1} << 30;  // MPI counts in int

class Mpi final : public Transport {
 public:
  Mpi() {
    int there = 0;
    MPI_Initialized(&there);
    if (!there) {
      int level = 0;
      if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS) return;
      finalize_ = true;
    }
    if (MPI_Comm_dup(MPI_COMM_WORLD, &world_) != MPI_SUCCESS) return;
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(world_, &rank);
    MPI_Comm_size(world_, &size);
    good_ = true;
  }
  ~Mpi() override {
    int over = 0;
    MPI_Finalized(&over);
    if (finalize_ && !over) MPI_Finalize();  // waits for the other ranks
  }
  Mpi(const Mpi&) = delete;
  Mpi& operator=(const Mpi&) = delete;
  bool good() const { return good_; }

  int exchange(std::span<const Message> messages, double seconds) override {
    requests_.clear();
    peers_.clear();
    // Receives first, so that what arrives finds its place.
    for (const bool send : {false, true})
      for (const Message& m : messages) {
        if (m.send != send) continue;
        for (std::size_t at = 0; at < m.bytes; at += chunk) {
          const int count = static_cast<int>(std::min(chunk, m.bytes - at));
          requests_.emplace_back();
          peers_.push_back(m.peer);
          const int error =
              send ? MPI_Isend(m.data + at, count, MPI_BYTE, m.peer, data_tag, world_, &requests_.back())
                   : MPI_Irecv(m.data + at, count, MPI_BYTE, m.peer, data_tag, world_, &requests_.back());
          if (error != MPI_SUCCESS) return m.peer;
        }
      }
    return wait(seconds);
  }

  void blame(int lost) override {
    static std::vector<int> numbers;  // lives as long as the messages
    numbers.assign(1, lost);
    for (int peer = 0; peer < size; ++peer) {
      MPI_Request request;
      if (peer == rank || peer == lost) continue;
      if (MPI_Isend(numbers.data(), 1, MPI_INT, peer, loss_tag, world_, &request) == MPI_SUCCESS)
        MPI_Request_free(&request);
    }
  }

  bool adds() const override { return true; }

  int all_reduce(void* x, std::size_t n, bool f64, double seconds) override {
    for (std::size_t at = 0; at < n; at += chunk) {
      requests_.assign(1, MPI_REQUEST_NULL);
      peers_.assign(1, (rank + 1) % size);  // MPI does not say whom it waits for
      const int count = static_cast<int>(std::min(chunk, n - at));
      void* const part = static_cast<char*>(x) + at * (f64 ? 8 : 4);
      if (MPI_Iallreduce(MPI_IN_PLACE, part, count, f64 ? MPI_DOUBLE : MPI_FLOAT, MPI_SUM, world_,
                         requests_.data()) != MPI_SUCCESS)
        return peers_[0];
      if (const int lost = wait(seconds); lost >= 0) return lost;
    }
    return -1;
  }

 private:
  static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  // Waits for all requests. Returns a peer that is lost, or -1.
  int wait(double seconds) {
    const double began = now();
    for (int round = 1;; ++round) {
      int done = 0;
      if (MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE) !=
          MPI_SUCCESS)
        return unfinished();
      if (done) return -1;
      if (round % 64 != 0) continue;
      if (const int lost = news(); lost >= 0) return lost;
      const double waited = now() - began;
      if (waited > seconds) return unfinished();
      // Other ranks may need this processor.
      if (waited > 0.01) {
        const timespec pause{0, 100'000};
        nanosleep(&pause, nullptr);
      } else {
        sched_yield();
      }
    }
  }

  // What another rank has said about a loss, or -1.
  int news() {
    int there = 0, lost = -1;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, loss_tag, world_, &there, &status) != MPI_SUCCESS || !there) return -1;
    MPI_Recv(&lost, 1, MPI_INT, status.MPI_SOURCE, loss_tag, world_, MPI_STATUS_IGNORE);
    return lost == rank ? status.MPI_SOURCE : lost;
  }

  // The peer of the first request that is not done.
  int unfinished() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      int done = 0;
      if (requests_[i] == MPI_REQUEST_NULL) continue;
      if (MPI_Test(&requests_[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || !done) return peers_[i];
    }
    return peers_.empty() ? (rank + 1) % size : peers_.front();
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  bool finalize_ = false, good_ = false;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;  // of the requests
};

}  // namespace
}  // namespace bobbin::dist

extern "C" [[gnu::visibility("default")]] bobbin::dist::Transport* bobbin_open_mpi() {
  auto* const mpi = new bobbin::dist::Mpi;
  if (mpi->good()) return mpi;
  delete mpi;
  return nullptr;
}
