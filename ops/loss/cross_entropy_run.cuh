// What cross_entropy_rows.cu and cross_entropy_smoothed.cu instantiate.
#pragma once
#include "ops/cuda/rows/run.cuh"
#include "ops/loss/cross_entropy_functor.cuh"

namespace bobbin::cuda {

template<class T, Spread spread>
void run_cross_entropy(std::string_view op, const RowOperands& rows, const CrossEntropyCall<T>& call,
                       bool early) {
  run_rows(op, rows, CrossEntropyRow<T, spread>{call}, early);
}

}  // namespace bobbin::cuda
