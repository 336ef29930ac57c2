// Samples of the normalisations that are composed of other operations, for the catalogue.
#pragma once
#include <bobbin/op.h>

namespace bobbin {

std::vector<Sample> layer_norm_samples();
std::vector<Sample> rms_norm_samples();
std::vector<Sample> group_norm_samples();

}  // namespace bobbin
