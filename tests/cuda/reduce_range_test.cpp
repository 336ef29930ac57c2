// Reductions at the edges of range and count, on a GPU (tests/ops/reduce_range.h).
#include "tests/ops/reduce_range.h"

#include "tests/cuda/cuda_fixture.h"

using namespace bobbin::test;

namespace {

using CudaReduceRange = SeededCuda<24>;

TEST_F(CudaReduceRange, ScalesDoNotMatter) { expect_the_same_at_every_scale(gpu); }
TEST_F(CudaReduceRange, CountsBeyond16Bits) { expect_counts_beyond_16_bits(gpu); }
TEST_F(CudaReduceRange, DerivativesReadUnroundedNumbers) { expect_derivatives_from_unrounded_numbers(gpu); }
TEST_F(CudaReduceRange, TailsOfLogSumExp) { expect_tails_of_logsumexp(gpu); }
TEST_F(CudaReduceRange, NormsOfMixedMagnitudes) { expect_norms_of_mixed_magnitudes(gpu); }
TEST_F(CudaReduceRange, NormsAcrossRanges) { expect_norms_across_ranges(gpu); }
TEST_F(CudaReduceRange, SecondDerivativesOfNormsAtZero) { expect_second_derivatives_at_zero(gpu); }
TEST_F(CudaReduceRange, OneRuleForNaN) { expect_one_rule_for_nan(gpu); }

}  // namespace
