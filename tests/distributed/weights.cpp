// Trains a model and prints a hash of its weights and buffers: the same line for every number of ranks.
//   weights MODEL STEPS [--save FILE | --load FILE] [--die RANK STEP | --stop RANK STEP] [--timeout SECONDS]
//   [--cuda]
// MODEL is mlp, cnn (with BatchNorm and dropout), or gpt. --die ends a rank, --stop lets it hang.
#include <bobbin/bobbin.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace bobbin;

namespace {

struct Mlp {
  nn::Linear first{20, 32}, second{32, 5};
  Tensor operator()(const Tensor& x) const { return second(relu(first(x))); }
  void each(nn::Visit& v) { v("first", first), v("second", second); }
};

struct Cnn {
  nn::Conv2d conv{1, 4, 3, {{.padding = 1}}};
  nn::BatchNorm norm{4};
  nn::Dropout drop{0.3};
  nn::Linear out{4 * 5 * 2, 5};
  Tensor operator()(const Tensor& x) const {
    return out(drop(flatten(max_pool2d(relu(norm(conv(reshape(x, {-1, 1, 5, 4})))), {1, 2}), 1)));
  }
  void each(nn::Visit& v) { v("conv", conv), v("norm", norm), v("drop", drop), v("out", out); }
};

struct Gpt {
  nn::Embedding tokens{5, 16};
  nn::TransformerBlock block{16, 2};
  nn::LayerNorm norm{Shape{16}};
  nn::Linear head{16, 5};
  // Numbers become five tokens; the model predicts the class from the last one.
  Tensor operator()(const Tensor& x) const {
    const Tensor bytes = to(clamp(slice(x, 1, 0, 8) * 1.5 + 2, 0, 4), DType::i64);
    return head(select(norm(block(tokens(bytes), true)), 1, -1));
  }
  void each(nn::Visit& v) { v("tokens", tokens), v("block", block), v("norm", norm), v("head", head); }
};

struct Arguments {
  std::string model;
  std::int64_t steps = 0, rank = -1, at = -1;
  std::string save, load, fault;
  Device device = Device::cpu();
  double timeout = 30;
};

std::uint64_t hash(const StateDict& state) {
  std::uint64_t h = 0xcbf2'9ce4'8422'2325;
  for (auto& [name, t] : state)
    for (const double x : t.to_vector<double>())
      h = (h ^ std::bit_cast<std::uint64_t>(x)) * 0x100'0000'01b3 + (h >> 29);
  return h;
}

template<class Model>
void train(const Arguments& a, const dist::Group& group) {
  manual_seed(1);
  Model model;
  nn::to(model, a.device);
  dist::Replicas replicas(model, {.shards = 8, .bucket_bytes = 1000});
  optim::AdamW adam(nn::parameters(model), {.lr = 3e-3});
  const Tensor rows = randn({1000, 20});
  DataLoader loader(
      transformed(std::make_shared<const TensorDataset>(std::vector{rows, argmax(slice(rows, 1, 0, 5), 1)}),
                  [](Batch b) {
                    b[0] = b[0] + randn(b[0].shape()) * 0.05;
                    return b;
                  }),
      {.batch_size = 48, .seed = 2, .device = a.device, .shards = replicas.shards()});
  std::int64_t step = 0;
  if (!a.load.empty()) {
    const auto notes = load_checkpoint(a.load, nn::state_dict(model), adam);
    step = std::stoll(notes.at("step"));
    loader.epoch = step / loader.batches();
  }
  double last = 0;
  while (step < a.steps)
    for (auto& batch : loader) {
      if (step == a.steps) break;
      if (step == a.at && group.rank() == a.rank) {
        if (a.fault == "--die") std::_Exit(3);
        if (fork() == 0) {  // ends the rank when the others should have given it up
          sleep(5);
          kill(getppid(), SIGKILL);
          std::_Exit(0);
        }
        raise(SIGSTOP);
      }
      adam.zero_grad();
      const Tensor loss =
          replicas.backward(batch, [&](const Batch& b) { return cross_entropy(model(b[0]), b[1]); });
      optim::clip_grad_norm(adam.parameters(), 1);
      adam.step();
      last = loss.item();
      ++step;
    }
  replicas.check();
  if (!a.save.empty())
    group.on_root([&] {
      save_checkpoint(a.save, nn::state_dict(model), adam, {{"step", std::to_string(step)}});
    });
  if (group.rank() == 0)
    std::printf("%s %016llx loss %.17g\n", a.model.c_str(),
                static_cast<unsigned long long>(hash(nn::state_dict(model))), last);
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments a{.model = argv[1], .steps = std::atoll(argv[2])};
  for (int i = 3; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--save") a.save = argv[++i];
    if (option == "--load") a.load = argv[++i];
    if (option == "--cuda") a.device = Device::cuda();
    if (option == "--timeout") a.timeout = std::atof(argv[++i]);
    if (option == "--die" || option == "--stop")
      a.fault = option, a.rank = std::atoll(argv[i + 1]), a.at = std::atoll(argv[i + 2]), i += 2;
  }
  const dist::Group& group = dist::init({.timeout = a.timeout});
  a.model == "mlp" ? train<Mlp>(a, group) : a.model == "cnn" ? train<Cnn>(a, group) : train<Gpt>(a, group);
  return argc > 2 ? 0 : 2;
} catch (const dist::PeerLost& e) {
  std::printf("PeerLost %d: %s\n", e.rank, e.what());
  return 7;
} catch (const std::exception& e) {
  std::printf("error: %s\n", e.what());
  return 1;
}
