// Measures operations on the CPU: the overhead of one operation, and the throughput of large ones.
#include <benchmark/benchmark.h>
#include <bobbin/bobbin.h>

using namespace bobbin;

namespace {

// Forward with recording on, one element: dispatch, checks, a tensor, a node.
template<class F>
void one_element(benchmark::State& state, F f) {
  const Tensor x = tensor({1.5}).set_requires_grad(), y = tensor({2.5}).set_requires_grad();
  for (auto _ : state) benchmark::DoNotOptimize(f(x, y));
}
BENCHMARK_CAPTURE(one_element, exp, [](const Tensor& x, const Tensor&) { return exp(x); });
BENCHMARK_CAPTURE(one_element, add, [](const Tensor& x, const Tensor& y) { return add(x, y); });
BENCHMARK_CAPTURE(one_element, mul, [](const Tensor& x, const Tensor& y) { return mul(x, y); });
BENCHMARK_CAPTURE(one_element, sum, [](const Tensor& x, const Tensor&) { return sum(x); });
BENCHMARK_CAPTURE(one_element, reshape, [](const Tensor& x, const Tensor&) { return reshape(x, {1, 1}); });
BENCHMARK_CAPTURE(one_element, softmax, [](const Tensor& x, const Tensor&) { return softmax(x); });

void one_element_backward(benchmark::State& state) {
  Tensor x = tensor(1.5).set_requires_grad(), y = tensor(2.5).set_requires_grad();
  for (auto _ : state) {
    x.set_grad({});
    y.set_grad({});
    backward(x * y);
  }
}
BENCHMARK(one_element_backward);

void bytes(benchmark::State& state, std::int64_t per_call) {
  state.SetBytesProcessed(state.iterations() * per_call);
}

void copy(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const Tensor x = rand({n});
  for (auto _ : state) benchmark::DoNotOptimize(clone(x));
  bytes(state, 8 * n);
}
BENCHMARK(copy)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime();

void add_arrays(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const Tensor x = rand({n}), y = rand({n});
  for (auto _ : state) benchmark::DoNotOptimize(add(x, y));
  bytes(state, 12 * n);
}
BENCHMARK(add_arrays)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime();

void softmax_rows(benchmark::State& state) {
  const std::int64_t d = state.range(0), n = (1 << 22) / d;
  const Tensor x = randn({n, d});
  for (auto _ : state) benchmark::DoNotOptimize(softmax(x));
  bytes(state, 8 * n * d);
}
BENCHMARK(softmax_rows)->Arg(10)->Arg(128)->Arg(1000)->Arg(32768)->UseRealTime();

void softmax_backward_rows(benchmark::State& state) {
  const std::int64_t d = state.range(0), n = (1 << 22) / d;
  const Tensor o = softmax(randn({n, d})), g = randn({n, d});
  for (auto _ : state) benchmark::DoNotOptimize(softmax_backward(o, g));
  bytes(state, 12 * n * d);
}
BENCHMARK(softmax_backward_rows)->Arg(10)->Arg(128)->Arg(1000)->Arg(32768)->UseRealTime();

// GFLOP/s of [n,k] x [k,m]. Finds a silent loss: with some CPU tunings of GCC, Eigen is a third slower.
void product(benchmark::State& state) {
  const Tensor a = randn({state.range(0), state.range(1)}), b = randn({state.range(2), state.range(1)});
  set_num_threads(static_cast<int>(state.range(3)));
  for (auto _ : state) benchmark::DoNotOptimize(matmul(a, transpose(b)));
  const double flop = 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(product)
    ->ArgNames({"n", "k", "m", "threads"})
    ->Args({128, 784, 256, 1})
    ->Args({128, 784, 256, 2})
    ->Args({128, 256, 128, 1})
    ->Args({128, 128, 10, 1})
    ->Args({1024, 1024, 1024, 1})
    ->Args({1024, 1024, 1024, 2})
    ->UseRealTime();

}  // namespace
