// Calls of attention, which is made of other operations, for the catalogue.
#pragma once
#include <bobbin/op.h>

namespace bobbin {

std::vector<Sample> attention_samples();

}  // namespace bobbin
