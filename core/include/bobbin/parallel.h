// Loops on several threads. The work is divided into tiles that do not depend on the number of threads, so
// results do not depend on it either.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace bobbin {

/// The number of threads of CPU kernels: $BOBBIN_NUM_THREADS, else the number of processors that this process
/// may run on.
int num_threads();
/// Sets the number of threads. Throws ValueError unless 1 <= n <= 1024.
void set_num_threads(int n);

namespace detail {
void run_tiles(std::int64_t tiles, void (*call)(void*, std::int64_t), void* f);
}

/// Calls f(tile) once for each tile in [0, tiles), on several threads and in any order: no tile may wait for
/// another. The first exception that a tile throws is rethrown here when all threads have stopped. A call
/// from inside a tile runs on the calling thread alone. After a fork() the child starts threads of its own.
/// In destructors at the end of the program it works as before.
template<class F>
void parallel_for(std::int64_t tiles, F&& f) {
  auto call = [](void* p, std::int64_t tile) { (*static_cast<std::remove_reference_t<F>*>(p))(tile); };
  detail::run_tiles(tiles, call, const_cast<void*>(static_cast<const void*>(std::addressof(f))));
}

}  // namespace bobbin
