// What the host side of the row engine asks CUDA for, and keeps: how many teams of blocks are resident at
// once, and a board for each stream where blocks meet.
#pragma once
#include <map>
#include <mutex>
#include <tuple>

#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"
#include "ops/cuda/rows/exchange.cuh"

namespace bobbin::cuda {

/// Blocks of a grid that a board has slots for, and words of a slot.
inline std::int64_t board_blocks(Device d) { return 4 * properties(d).sms; }
inline constexpr int board_words = 16;

/// The board of the current stream, or of the graph that is being captured on it; made of zeros when it is
/// first asked for, and kept.
inline Board board(Device d) {
  struct Entry {
    unsigned long long capture = 0;  // a graph's own number
    Tensor words;
  };
  static std::mutex mutex;
  static auto& boards = *new std::map<std::pair<int, cudaStream_t>, Entry>;  // tensors may not outlive CUDA
  const cudaStream_t on = stream(d);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long capture = 0;
  check(cudaStreamGetCaptureInfo(on, &status, &capture, nullptr, nullptr, nullptr, nullptr), "rows");
  if (status == cudaStreamCaptureStatusNone) capture = 0;
  const std::lock_guard lock(mutex);
  Entry& e = boards[{d.index, on}];
  if (!e.words || e.capture != capture) {
    e.words = empty({Board::header + 2 * board_blocks(d) * board_words}, DType::i64, d);
    fill_elements(e.words, 0);
    e.capture = capture;
  }
  return {e.words.raw<unsigned long long>()};
}

/// How many teams of p.blocks blocks of a kernel run at the same time; 0 where none can.
inline std::int64_t resident_teams(Device d, const void* kernel, const RowPlan& p, std::size_t shared) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, int, std::size_t, int>, int> known;
  const Properties& chip = properties(d);
  if (shared > static_cast<std::size_t>(chip.shared_per_block)) return 0;
  const int cluster = p.link == Link::cluster ? p.blocks : 1;
  const std::lock_guard lock(mutex);
  const auto [entry, fresh] = known.try_emplace({d.index, kernel, p.threads, shared, cluster}, 0);
  int& count = entry->second;
  if (fresh) {
    const DeviceGuard use(d);
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
    if (status != cudaSuccess) {  // a size that this chip does not have
      cudaGetLastError();
      count = 0;
    }
  }
  if (cluster > 1) return count;
  return (p.link == Link::grid ? std::min<std::int64_t>(count, board_blocks(d)) : count) / p.blocks;
}

}  // namespace bobbin::cuda
