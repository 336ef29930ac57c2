// Writes models as NAME.onnx, with an input and the model's output as NAME.in.npy and NAME.out.npy, and their
// parameters as NAME.npz, for open_onnx_test.
#include <bobbin/bobbin.h>

#include <fstream>
#include <iostream>

using namespace bobbin;

namespace {

std::filesystem::path dir;

// The first n rows of x, repeated along axis 0, which need not be as many as the example's.
Tensor rows(const Tensor& x, std::int64_t n) { return slice(concat(std::vector<Tensor>(7, x)), 0, 0, n); }

// The input is not the example: where axes are open there is more of it. For onnxruntime there are batches of
// 1, 2 and 7, too.
template<class M>
void write(const std::string& name, M model, const Tensor& example, const OnnxOptions& options = {}) {
  save_onnx(dir / (name + ".onnx"), model, example, options);
  const NoGrad quiet;
  std::ofstream index(dir / "index.txt", std::ios::app);
  const auto call = [&](const std::string& as, const Tensor& x) {
    save_npy(dir / (as + ".in.npy"), x);
    save_npy(dir / (as + ".out.npy"), model(x));
    index << as << '\t' << x.spec() << '\n';
  };
  const Tensor x = is_floating(example.dtype()) ? example * -0.75 : example;
  Tensor more = x;
  for (const auto axis : options.open_axes) more = concat({more, more, more, more}, static_cast<int>(axis));
  call(name, more);
  if (options.open_axes.contains(0))
    for (const int n : {1, 2, 7}) call(name + "@" + std::to_string(n), rows(x, n));
  if constexpr (nn::Module<M>) save_npz(dir / (name + ".npz"), nn::state_dict(model));
}

struct Mlp {
  Activation activation;
  nn::Linear first{5, 8}, second{8, 3, false};
  Tensor operator()(const Tensor& x) const { return second(first(x, activation)); }
  void each(nn::Visit& v) { v("first", first), v("second", second); }
};

struct Cnn {
  nn::Conv2d first{1, 4, 3, {{.padding = 1}, false}};
  nn::BatchNorm norm{4};
  nn::Conv2d second{4, 6, {2, 3}, {{.stride = {1, 2}, .padding = {1, 0}, .dilation = 2, .groups = 2}}};
  nn::MaxPool2d pool{3, {.stride = 2, .padding = 1}};
  nn::Linear out{18, 3};
  Tensor operator()(const Tensor& x) const {
    const Tensor y = second(pool(relu(norm(first(x)))), Activation::tanh);
    const Tensor parts = adaptive_avg_pool2d(avg_pool2d(y, 2, {.stride = 1, .padding = 1}), {3, 1});
    return log_softmax(out(nn::Flatten()(parts)));
  }
  void each(nn::Visit& v) { v("first", first), v("norm", norm), v("second", second), v("out", out); }
};

struct Language {
  nn::Embedding embedding{11, 8};
  nn::TransformerBlock block{8, 2, 0.1};
  nn::Linear out{8, 11};
  Tensor operator()(const Tensor& x) const { return softmax(out(block(embedding(x), true))); }
  void each(nn::Visit& v) { v("embedding", embedding), v("block", block), v("out", out); }
};

template<class Layer>
struct Sequence {
  Layer layer{3, 4, {.layers = 2, .bidirectional = true}};
  Tensor operator()(const Tensor& x) const { return layer(x).y; }
  void each(nn::Visit& v) { v("layer", layer); }
};

// One direction, from a state that the sequence gives; the last states are all that is read.
template<class Layer>
struct Encoder {
  Layer layer{3, 5};
  Tensor operator()(const Tensor& x) const {
    const nn::RecurrentState first{tanh(pad(select(x, 1, 0), {{0, 0}, {1, 1}}, 0.25)), {}};
    const auto last = layer(x, {first}).last[0];
    return last.c ? concat({last.h, last.c}, 1) : last.h;
  }
  void each(nn::Visit& v) { v("layer", layer); }
};

// Grouped heads, and masks that leave the first query nothing to see.
Tensor attention(const Tensor& x) {
  const Tensor key = reshape(linspace(-1, 1, 2 * 3 * 8), {2, 3, 8}).set_requires_grad(), value = key + 1;
  const Tensor keys = tensor({0, 1, 1}, DType::boolean);
  const Tensor causal = scaled_dot_product_attention(
      x, key, value, {.mask = keys, .causal = true, .scale = 0.3, .enable_gqa = true});
  return causal + scaled_dot_product_attention(x, x, -x, {.mask = slice(x, 3, 0, 1)});
}

// Images of any size, counts of rows by index, and sizes of 0 beside open ones.
struct Counts {
  nn::Conv2d first{2, 4, 3, {{.padding = 1}}};
  nn::Linear out{4, 3};
  Tensor operator()(const Tensor& x) const {
    const Tensor y = out(mean(relu(first(x)), {2, 3}));
    const Tensor nothing = reshape(slice(y, 1, 0, 0), {x.size(0), 0, 2});
    const Tensor counted = index_add(transpose(y), 0, tensor({2, 0, 2}, DType::i64), transpose(y));
    return transpose(counted) + unsqueeze(sum(nothing, {1, 2}), 1);
  }
  void each(nn::Visit& v) { v("first", first), v("out", out); }
};

Tensor transposed(const Tensor& x) {
  const Tensor weight = linspace(-1, 1, 4 * 3 * 3 * 2), bias = tensor({0.5, -0.5, 1, 0, 0.25, -1});
  const Tensor y =
      conv_transpose2d(x, reshape(weight, {4, 3, 3, 2}), bias,
                       {.stride = {3, 2}, .padding = 1, .dilation = {1, 2}, .groups = 2}, {2, 1});
  return adaptive_avg_pool2d(upsample_nearest2d(y, {1, 2}), {5, 4});
}

Tensor norms(const Tensor& x) {
  const Tensor weight = tensor({1, 0.5, 2, -1}), kernel = reshape(linspace(-1, 1, 24), {4, 2, 3});
  const Tensor y = layer_norm(x, {6}) + rms_norm(x, {6}) + group_norm(x, 2, weight, weight);
  return conv1d(y, kernel, weight, {.stride = 2, .padding = 1, .groups = 2});
}

Tensor elementwise(const Tensor& x) {
  const Tensor p = abs(x) + 0.5;
  return stack({neg(x),
                sign(x),
                square(x),
                exp(x),
                expm1(x * 1e-3),
                log(p),
                log1p(p * 1e-3),
                sqrt(p),
                rsqrt(p),
                reciprocal(p),
                sin(x),
                cos(x),
                tanh(x),
                erf(x),
                sigmoid(x),
                relu(x),
                leaky_relu(x, 0.2),
                elu(x, 1.5),
                silu(x),
                softplus(x),
                gelu(x),
                gelu(x, Gelu::tanh),
                clamp(x, -0.5, 0.75),
                pow(p, 1.5),
                pow(p, x),
                x - p,
                x / p,
                maximum(x, -p + 1),
                minimum(x, -p + 1),
                where(x > 0, p, x),
                to(ne(to(x * 2, DType::i32), to(p * 2, DType::i32)), x.dtype()),
                to(x >= 0.25, x.dtype()),
                to(x < 0.25, x.dtype()),
                to(x <= 0.25, x.dtype()),
                to(eq(sign(x), scalar(1, x)), x.dtype())});
}

Tensor reductions(const Tensor& x) {
  const Tensor rows[] = {sum(x, {1, 2}),
                         mean(x, {1, 2}),
                         max(x, {1, 2}),
                         amin(x, {-1, 1}),
                         var(x, {1, 2}),
                         bobbin::std(x, {1, 2}, 0),
                         logsumexp(x, {1, 2}),
                         norm(x, 1, {1, 2}),
                         norm(x, 2, {1, 2}),
                         norm(x, 3, {1, 2}),
                         norm(x, std::numeric_limits<double>::infinity(), {1, 2}),
                         sum(cumsum(x, 1) * cumsum(x, 2, true), {1, 2}),
                         sum(softmax(x, 1) * log_softmax(x, 2), {1, 2}),
                         sum(masked_softmax(x, x <= slice(x, 2, 0, 1), true) * x, {1, 2}),
                         to(sum(argmax(x, 2) + argmin(x, 2), {1}), x.dtype())};
  return stack(rows, 1) + to(argmax(select(x, 0, 0)), x.dtype());
}

Tensor layout(const Tensor& x) {
  const Tensor picked = index_select(x, 1, tensor({2, 0, 2}, DType::i64)),
               swapped = gather(x, 2, argmax(x, 2, true)),
               padded = pad(slice(x, 2, 1, 4, 2), {{0, 0}, {0, 0}, {1, 2}}, 0.5);
  const Tensor hot = to(one_hot(argmax(x, 2), 4), x.dtype()), grown = swapped + expand(x, {x.size(0), 3, 4});
  const Tensor y =
      concat({picked, padded, slice(hot, 2, 0, 4), transpose(reshape(grown, {x.size(0), 4, 3}))}, 2);
  const Tensor summed = scatter_add(y, 1, ones({1, 2, 4}, DType::i64), slice(x, 1, 0, 2));
  return flatten(permute(summed, {1, 0, 2}), 0, 1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_onnx DIRECTORY\n";
    return 2;
  }
  dir = argv[1];
  manual_seed(1);
  const OnnxOptions any{.open_axes = {0}};
  const std::pair<const char*, Activation> activations[] = {
      {"none", Activation::none}, {"relu", Activation::relu},       {"gelu", Activation::gelu},
      {"tanh", Activation::tanh}, {"sigmoid", Activation::sigmoid}, {"silu", Activation::silu}};
  for (auto& [name, activation] : activations)
    write(std::string("mlp_") + name, Mlp{activation}, randn({2, 5}));
  Cnn cnn;
  for (int i = 0; i < 3; ++i) cnn(randn({4, 1, 8, 9}));  // moves the running statistics
  nn::eval(cnn);
  write("cnn", cnn, randn({2, 1, 8, 9}), any);
  Language language;
  nn::eval(language);
  write("transformer", language, reshape(arange(10), {2, 5}), any);
  write("mlp_rows", Mlp{Activation::gelu}, randn({2, 3, 5}), any);
  write("conv_transpose", transposed, randn({2, 4, 3, 4}), any);
  write("norms", norms, randn({2, 4, 6}), any);
  write("elementwise", elementwise, randn({3, 4}));
  write("reductions", reductions, randn({3, 4, 5}));
  write("layout", layout, randn({1, 3, 4}));
  const OnnxOptions sequences{.open_axes = {0, 1}};
  write("rnn", Sequence<nn::RNN>{}, randn({2, 4, 3}), sequences);
  write("lstm", Sequence<nn::LSTM>{}, randn({2, 4, 3}), sequences);
  write("gru", Sequence<nn::GRU>{}, randn({2, 4, 3}), sequences);
  write("rnn_encoder", Encoder<nn::RNN>{}, randn({2, 4, 3}), sequences);
  write("lstm_encoder", Encoder<nn::LSTM>{}, randn({2, 4, 3}), sequences);
  write("gru_encoder", Encoder<nn::GRU>{}, randn({2, 4, 3}), sequences);
  write("counts", Counts{}, randn({2, 2, 3, 2}), {.open_axes = {0, 2, 3}});
  write("any_length", language, reshape(arange(10), {2, 5}), {.open_axes = {0, 1}});
  for (const int opset : {18, 20, 21, 23}) {
    const std::string end = "_opset" + std::to_string(opset);
    write("elementwise" + end, elementwise, randn({3, 4}), {.opset = opset});
    write("reductions" + end, reductions, randn({3, 4, 5}), {.opset = opset});
    write("norms" + end, norms, randn({2, 4, 6}), {.open_axes = {0}, .opset = opset});
    write("any_length" + end, language, reshape(arange(10), {2, 5}), {.open_axes = {0, 1}, .opset = opset});
    write("attention" + end, attention, randn({2, 4, 3, 8}), {.open_axes = {0, 2}, .opset = opset});
  }
}
