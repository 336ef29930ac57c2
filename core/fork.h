// Keeps mutexes usable in the children of fork().
#pragma once
#include <pthread.h>

#include <mutex>

namespace bobbin {

/// From the first call on, fork() waits for the mutex and holds it, so that a child does not inherit it
/// locked by a thread that only its parent has.
template<std::mutex& mutex>
void hold_during_fork() {
  [[maybe_unused]] static const int once =
      pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
}

}  // namespace bobbin
