// `gradcheck --ranks N`: models trained by N processes have the bits of one process.
#pragma once
#include <bobbin/gradcheck.h>

#include <cstdint>
#include <string>

namespace bobbin::gradcheck_detail {

/// Trains the model for three steps alone, and then in `ranks` processes, which it starts. Each shard of a
/// batch is a draw of the model's data with another seed. Returns what differs: the first tensor, the rank,
/// the element; empty if nothing does. Throws ValueError unless 1 <= ranks <= 64, IoError if the processes
/// cannot be started.
std::string compare_ranks(const ModelInfo&, int ranks, std::uint64_t seed);

}  // namespace bobbin::gradcheck_detail
