// The failures of edge checks that are right, each with its reason.
#pragma once
#include <span>
#include <string_view>

#include "autograd/gradcheck/edges/kinds.h"

namespace bobbin::gradcheck_detail {

struct EdgeException {
  std::string_view op, kind, sample;  ///< patterns
  std::string_view dtypes;            ///< names, separated by spaces
  std::string_view reason;
};
/// The table.
std::span<const EdgeException> edge_exceptions();
/// The entry for this check; null if there is none.
const EdgeException* exception_of(const CheckResult&, DType);

}  // namespace bobbin::gradcheck_detail
