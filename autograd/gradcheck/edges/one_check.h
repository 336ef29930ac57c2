// One check of a kind of edges, with its time and its exceptions.
#pragma once
#include <functional>
#include <string_view>

#include "autograd/gradcheck/edges/kinds.h"

namespace bobbin::gradcheck_detail {

/// Runs `f`. A call that refuses the dtype is skipped; a failure that the table of exceptions explains is
/// skipped with its reason.
CheckResult one_check(const OpInfo&, std::string_view sample, std::string_view kind, const EdgeOptions&,
                      const std::function<GradcheckReport()>& f);

}  // namespace bobbin::gradcheck_detail
