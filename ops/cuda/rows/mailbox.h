// A mailbox in global memory, where blocks of a grid that all run at the same time exchange the statistics of
// a row.
#pragma once
#include <bobbin/device.h>

#include <cstdint>

namespace bobbin::cuda {

/// Each word holds 32 bits of a value and, above them, a tag that no earlier launch used. The tag shows that
/// the value has arrived, so words never need a reset. words[0] is the latest tag, words[1] counts the blocks
/// that have ended; the blocks' words follow.
struct Mailbox {
  unsigned long long* words;
  static constexpr int header = 2;
};

/// The most blocks of a grid, and the most words per block, that a mailbox has room for.
std::int64_t mailbox_blocks(Device);
inline constexpr int mailbox_words = 16;

/// The mailbox of the current stream, or of the graph that is being captured on it. It is allocated and
/// filled with zeros at the first call, and again when the stream begins or ends a capture. It is not freed
/// at the end of the program.
Mailbox mailbox(Device);

}  // namespace bobbin::cuda
