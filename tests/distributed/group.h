// What the tests of a group share.
#pragma once
#include <bobbin/distributed.h>

#include <string>

namespace bobbin::tests {

/// All ranks of this run.
inline dist::Group& group() { return dist::init(); }

/// The message of the E that f throws.
template<class E, class F>
std::string message(F f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing thrown";
}

}  // namespace bobbin::tests
