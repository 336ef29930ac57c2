// Reductions at the edges of range and count, on the CPU (reduce_range.h).
#include "tests/ops/reduce_range.h"

using namespace bobbin::test;

namespace {

const bobbin::Device cpu = bobbin::Device::cpu();

TEST(ReduceRange, ScalesDoNotMatter) { expect_the_same_at_every_scale(cpu); }
TEST(ReduceRange, CountsBeyond16Bits) { expect_counts_beyond_16_bits(cpu); }
TEST(ReduceRange, DerivativesReadUnroundedNumbers) { expect_derivatives_from_unrounded_numbers(cpu); }
TEST(ReduceRange, TailsOfLogSumExp) { expect_tails_of_logsumexp(cpu); }
TEST(ReduceRange, NormsOfMixedMagnitudes) { expect_norms_of_mixed_magnitudes(cpu); }
TEST(ReduceRange, NormsAcrossRanges) { expect_norms_across_ranges(cpu); }
TEST(ReduceRange, SecondDerivativesOfNormsAtZero) { expect_second_derivatives_at_zero(cpu); }
TEST(ReduceRange, OneRuleForNaN) { expect_one_rule_for_nan(cpu); }

}  // namespace
