// Samples of what is made of other operations.
#pragma once
#include <bobbin/norm.h>
#include <bobbin/op.h>

namespace bobbin {

std::vector<Sample> layer_norm_samples();
std::vector<Sample> rms_norm_samples();
std::vector<Sample> group_norm_samples();
std::vector<Sample> attention_samples();

}  // namespace bobbin
