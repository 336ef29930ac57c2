// Allocates a mailbox for each stream and each graph.
#include "ops/cuda/rows/mailbox.h"

#include <map>
#include <mutex>

#include "core/cuda/backend.h"
#include "core/cuda/runtime.h"

namespace bobbin::cuda {

std::int64_t mailbox_blocks(Device d) { return 4 * properties(d).sms; }

Mailbox mailbox(Device d) {
  struct Entry {
    unsigned long long capture = 0;  // the graph that is being captured; 0: none
    Tensor words;
  };
  static std::mutex mutex;
  // Never destroyed: its tensors must not be freed after CUDA has shut down.
  static auto& mailboxes = *new std::map<std::pair<int, cudaStream_t>, Entry>;
  const cudaStream_t on = stream(d);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long capture = 0;
  check(cudaStreamGetCaptureInfo(on, &status, &capture, nullptr, nullptr, nullptr, nullptr), "rows");
  if (status == cudaStreamCaptureStatusNone) capture = 0;
  const std::lock_guard lock(mutex);
  Entry& e = mailboxes[{d.index, on}];
  if (!e.words || e.capture != capture) {
    e.words = empty({Mailbox::header + 2 * mailbox_blocks(d) * mailbox_words}, DType::i64, d);
    fill_elements(e.words, 0);
    e.capture = capture;
  }
  return {e.words.raw<unsigned long long>()};
}

}  // namespace bobbin::cuda
