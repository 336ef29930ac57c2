// Cross-entropy of one class a row through the row engine: a source of its own, for it takes long to compile.
#include "ops/loss/cross_entropy_run.cuh"

namespace bobbin::cuda {

template void run_cross_entropy<double, Spread::none>(std::string_view, const RowOperands&,
                                                      const CrossEntropyCall<double>&, bool);
template void run_cross_entropy<float, Spread::none>(std::string_view, const RowOperands&,
                                                     const CrossEntropyCall<float>&, bool);
template void run_cross_entropy<BFloat16, Spread::none>(std::string_view, const RowOperands&,
                                                        const CrossEntropyCall<BFloat16>&, bool);
template void run_cross_entropy<Half, Spread::none>(std::string_view, const RowOperands&,
                                                    const CrossEntropyCall<Half>&, bool);

}  // namespace bobbin::cuda
