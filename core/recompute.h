// Recomputation: tells operations that a call repeats an earlier one, as checkpoint() does in a backward
// pass.
#pragma once

namespace bobbin::detail {

/// Whether this thread repeats an earlier call. Operations then edit no state that the first call has edited,
/// such as running statistics.
bool recomputing();

/// RAII: marks what this thread runs as a repetition.
class Recomputation {
 public:
  Recomputation();
  ~Recomputation();
  Recomputation(const Recomputation&) = delete;
  Recomputation& operator=(const Recomputation&) = delete;

 private:
  bool before_;
};

}  // namespace bobbin::detail
