// Caches the launches that were chosen for functors and shapes, and asks CUDA how many teams run at the same
// time.
#include "ops/cuda/rows/cached_launch.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>

#include "core/cuda/runtime.h"
#include "ops/cuda/rows/mailbox.h"

namespace bobbin::cuda {
namespace {

// How many teams of p.blocks blocks of a kernel run at the same time; 0 if none can.
std::int64_t resident_teams(Device d, const void* kernel, const RowLaunch& p, std::size_t shared) {
  static std::mutex mutex;
  // Never destroyed, as other threads may launch kernels while the program ends.
  static auto& known = *new std::map<std::tuple<int, const void*, int, std::size_t, int>, int>;
  const Properties& chip = properties(d);
  if (shared > static_cast<std::size_t>(chip.shared_per_block)) return 0;
  const int cluster = p.scope == Scope::cluster ? p.blocks : 1;
  const std::lock_guard lock(mutex);
  const auto [entry, fresh] = known.try_emplace({d.index, kernel, p.threads, shared, cluster}, 0);
  int& count = entry->second;
  if (fresh) {
    const DeviceGuard guard(d);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(chip.shared_per_block));
    cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                         cudaSharedmemCarveoutMaxShared);
    cudaError_t status = cudaSuccess;
    if (cluster > 1) {
      cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
      cudaLaunchAttribute size{};
      size.id = cudaLaunchAttributeClusterDimension;
      size.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
      const auto blocks = static_cast<unsigned>(cluster * chip.sms);
      cudaLaunchConfig_t config{dim3(blocks), dim3(p.threads), shared, nullptr, &size, 1};
      status = cudaOccupancyMaxActiveClusters(&count, kernel, &config);
    } else {
      status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&count, kernel, p.threads, shared);
      count *= chip.sms;
    }
    if (status != cudaSuccess) {  // the chip does not support this size
      cudaGetLastError();
      count = 0;
    }
  }
  if (cluster > 1) return count;
  return (p.scope == Scope::grid ? std::min<std::int64_t>(count, mailbox_blocks(d)) : count) / p.blocks;
}

}  // namespace

const void* TeamKernels::kernel(const RowLaunch& p, int inputs) const {
  if (p.algorithm == Algorithm::two_pass) return two_pass;
  const auto* const packs = std::find(std::begin(block_packs), std::end(block_packs), p.packs * inputs);
  return block[packs - std::begin(block_packs)];
}

std::size_t shared_bytes(const RowLaunch& p, const TeamKernels& kernels) {
  const bool exchanges = p.algorithm == Algorithm::block || p.algorithm == Algorithm::two_pass;
  return p.shared +
         (exchanges ? exchange_entries(p.threads / 32, p.blocks, p.scope) * kernels.stats_bytes : 0);
}

const RowLaunch& cached_launch(Device d, const RowShape& shape, const TeamKernels& kernels) {
  struct Entry {
    const TeamKernels* kernels = nullptr;
    Device device;
    RowShape shape{};
    RowTuning tuning;
    RowLaunch launch;
  };
  static thread_local std::array<Entry, 64> entries;
  const auto hash = static_cast<std::uint64_t>(shape.outer * 31 + shape.columns * 7 + shape.inner) +
                    reinterpret_cast<std::uintptr_t>(&kernels) / sizeof(TeamKernels);
  Entry& e = entries[hash % entries.size()];
  if (e.kernels != &kernels || e.device != d || e.shape != shape || e.tuning != row_tuning()) {
    const Properties& p = properties(d);
    const RowTuning tuning = row_tuning();
    e.launch =
        choose_launch(shape, {p.sms, p.shared_per_block, p.major >= 9}, tuning, [&](const RowLaunch& launch) {
          return resident_teams(d, kernels.kernel(launch, shape.inputs), launch,
                                shared_bytes(launch, kernels));
        });
    e.kernels = &kernels;
    e.device = d;
    e.shape = shape;
    e.tuning = tuning;
  }
  return e.launch;
}

}  // namespace bobbin::cuda
