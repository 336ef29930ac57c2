// Measures the parts of a transformer (attention, norms, gelu, the head with its loss, softmax of unusual
// shapes) and a training step of GPT-2 small: time and peak memory, on a GPU or on the CPU.
// transformer_peers.py has the same rows.
#include <bobbin/allocator.h>
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <fstream>

#include "gpt2.h"
#include "step_profile.h"
#include "tools/options/options.h"
#include "transformer_bench.h"

namespace {

using namespace bobbin;
using bench::Bench, bench::Call, bench::Settings;
using nlohmann::json;

Tensor operand(const Shape& shape, DType dtype, Device device, double scale = 1) {
  return to(randn(shape, DType::f32, device) * scale, dtype).detach();
}
Tensor leaf(const Shape& shape, DType dtype, Device device, double scale = 1) {
  return operand(shape, dtype, device, scale).set_requires_grad();
}

// Two rows: `call` alone without a tape, and `call` with the gradients of its operands.
void both(Bench& bench, const std::string& name, std::int64_t bytes,
          const std::function<std::vector<Tensor>()>& operands,
          const std::function<Tensor(const std::vector<Tensor>&)>& call, bool forward = true) {
  if (forward)
    bench({name + ", forward", bytes, [&]() -> Call {
             return [x = operands(), &call] {
               const NoGrad quiet;
               call(x);
             };
           }});
  bench({name + ", both", bytes, [&]() -> Call {
           const auto x = operands();
           const TensorSpec y = [&] {
             const NoGrad quiet;
             return call(x).spec();
           }();
           const Tensor g = y.shape.empty() ? Tensor() : operand(y.shape, y.dtype, bench.device());
           return [x, g, &call] { grad(call(x), std::span(x), g); };
         }});
}

std::string shape_name(std::initializer_list<std::int64_t> sizes) {
  return fmt::format("{}", fmt::join(sizes, "x"));
}

void attention(Bench& bench, std::int64_t n, std::int64_t heads, std::int64_t length, std::int64_t size,
               DType t) {
  both(
      bench, fmt::format("attention causal {} {}", shape_name({n, heads, length, size}), name(t)),
      4 * n * heads * length * size * static_cast<std::int64_t>(size_of(t)),
      [=, &bench] {
        std::vector<Tensor> x;
        for (int i = 0; i < 3; ++i) x.push_back(leaf({n, heads, length, size}, t, bench.device()));
        return x;
      },
      [](const std::vector<Tensor>& x) {
        return scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true});
      });
}

void norms(Bench& bench, std::int64_t rows, std::int64_t columns, DType t) {
  const std::int64_t bytes = 2 * rows * columns * static_cast<std::int64_t>(size_of(t));
  const std::string of = fmt::format(" {}x{} {}", rows, columns, name(t));
  const auto with = [&](int parameters) {
    return [=, &bench] {
      std::vector<Tensor> x{leaf({rows, columns}, t, bench.device())};
      for (int i = 0; i < parameters; ++i) x.push_back(leaf({columns}, t, bench.device()));
      return x;
    };
  };
  both(bench, "layer_norm" + of, bytes, with(2),
       [=](const std::vector<Tensor>& x) { return layer_norm(x[0], {columns}, x[1], x[2]); });
  both(bench, "rms_norm" + of, bytes, with(1),
       [=](const std::vector<Tensor>& x) { return rms_norm(x[0], {columns}, x[1]); });
  both(
      bench, "gelu" + of, bytes, with(0), [](const std::vector<Tensor>& x) { return gelu(x[0]); }, false);
}

void head(Bench& bench, std::int64_t rows, std::int64_t size, std::int64_t vocabulary) {
  both(
      bench, "head + cross-entropy " + shape_name({rows, size, vocabulary}) + " bf16", 200'000'000,
      [=, &bench] {
        const Device device = bench.device();
        return std::vector<Tensor>{leaf({rows, size}, DType::bf16, device),
                                   leaf({vocabulary, size}, DType::bf16, device, .02)};
      },
      [target = randint(0, vocabulary, {rows}, DType::i64, bench.device())](const std::vector<Tensor>& x) {
        return cross_entropy(linear(x[0], x[1]), target);
      },
      false);
}

// softmax and its derivative, each by itself.
void softmax_rows(Bench& bench, const Shape& shape, int axis, DType t) {
  const std::string of = fmt::format("softmax {} axis {} {}", fmt::join(shape, "x"), axis, name(t));
  const std::int64_t bytes = 2 * numel(shape) * static_cast<std::int64_t>(size_of(t));
  bench({of + ", forward", bytes,
         [&]() -> Call { return [x = operand(shape, t, bench.device(), 3), axis] { softmax(x, axis); }; }});
  bench({of + ", backward", bytes, [&]() -> Call {
           return [o = softmax(operand(shape, t, bench.device(), 3), axis),
                   g = operand(shape, t, bench.device()), axis] { softmax_backward(o, g, axis); };
         }});
}

void gpt2(Bench& bench, int profile) {
  constexpr std::int64_t batch = 8;
  const bench::Gpt2Sizes sizes;
  const std::string of = "GPT-2 small, a step of 8x1024 tokens";
  if (!bench.wants(of + ", eager") && !bench.wants(of + ", captured")) return;
  allocator(bench.device()).release_cached();
  bench::Gpt2 model(sizes);
  nn::to(model, bench.device());
  optim::AdamW adam(nn::parameters(model), {.lr = 1e-4});
  adam.max_norm = 1;
  const Shape shape{batch, sizes.length};
  const Tensor ids = randint(0, sizes.vocabulary, shape, DType::i64, bench.device()),
               targets = randint(0, sizes.vocabulary, shape, DType::i64, bench.device());
  const auto step = [&] {
    const Tensor loss = [&] {
      const Autocast narrow(DType::bf16, ProductResults::narrow);
      return model(ids, targets);
    }();
    adam.zero_grad();
    backward(loss);
    adam.step();
  };
  if (bench.wants(of + ", eager")) bench.step(of + ", eager", step, false);
  if (profile > 0)
    fmt::print("{}\n", bench::profile_of(step, bench.device(), static_cast<std::size_t>(profile)));
  if (bench.wants(of + ", captured")) {
    Captured captured = capture(step);
    bench.step(
        of + ", captured", [&] { captured(); }, true);
  }
}

void on_gpu(Bench& bench, const Settings& s) {
  attention(bench, 4, 16, 1024, 64, DType::bf16);
  attention(bench, 4, 16, 4096, 64, DType::bf16);
  attention(bench, 1, 16, 8192, 128, DType::bf16);
  attention(bench, 4, 16, 1024, 64, DType::f32);
  for (const DType t : {DType::f32, DType::bf16}) norms(bench, 8192, 4096, t);
  head(bench, 8192, 768, 50257);
  if (!s.quick) head(bench, 8192, 2048, 128256);
  for (const DType t : {DType::f32, DType::bf16})
    for (const std::int64_t length : {65, 333, 777, 1001, 2049, 4095})
      if (!s.quick || length == 777) softmax_rows(bench, {(1 << 25) / length, length}, 1, t);
  softmax_rows(bench, {8, 50257, 128}, 1, DType::f32);
  gpt2(bench, s.profile);
}

void on_cpu(Bench& bench) {
  attention(bench, 1, 8, 512, 64, DType::f32);
  norms(bench, 1024, 4096, DType::f32);
  softmax_rows(bench, {1024, 4096}, 0, DType::f32);
  softmax_rows(bench, {1 << 18, 16}, 1, DType::f32);
}

void run(const Settings& s) {
  manual_seed(1);
  if (s.threads > 0) set_num_threads(s.threads);
  Bench bench(s);
  bench.on_gpu() ? on_gpu(bench, s) : on_cpu(bench);
  if (s.json_file.empty()) return;
  std::ofstream file(s.json_file);
  file << json{{"threads", num_threads()}, {"rows", bench.rows()}}.dump(1) << '\n';
  if (!file.flush()) fail<IoError>(s.json_file, " cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  tools::Options options("Measures the parts of a transformer, and a training step of GPT-2 small.");
  options.add("--device", s.device, "where").one_of({"cuda", "cpu"});
  options.add("--only", s.only, "only rows whose name contains this");
  options.add("--threads", s.threads, "of the CPU; 0: one a processor").range(0, 1024);
  options.flag("--quick", s.quick, "fewer rows, fewer rounds");
  options
      .add("--profile", s.profile,
           "also print so many operations, those that take longest in the step of GPT-2")
      .range(0, 1000);
  options.add("--json", s.json_file, "also write the figures to this file");
  if (const auto status = options.parse(argc, argv)) return *status;
  std::string why;
  if (s.device == "cuda" && !cuda_available(&why)) {
    fmt::print(stderr, "bench_transformer: {}\n", why);
    return 5;
  }
  try {
    run(s);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_transformer: {}\n", e.what());
    return 1;
  }
}
