// The flag of each thread that says whether it repeats an earlier call.
#include "core/recompute.h"

#include <utility>

namespace bobbin::detail {
namespace {
thread_local bool repeating = false;
}

bool recomputing() { return repeating; }

Recomputation::Recomputation() : before_(std::exchange(repeating, true)) {}
Recomputation::~Recomputation() { repeating = before_; }

}  // namespace bobbin::detail
