// A small transformer that learns to write text, byte by byte (like A. Karpathy's nanoGPT).
//   char_gpt [PATH]      a text file, or a folder of C++ sources: by default the current one
//   mpirun -n 4 char_gpt [PATH]
#include <bobbin/bobbin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>

#include "tools/options/options.h"

using namespace bobbin;
namespace fs = std::filesystem;

struct Options {
  fs::path text = ".";
  std::int64_t steps = 1000, batch = 16, length = 96, size = 128, heads = 4, blocks = 4, sample = 600,
               seed = 1, shards = 0;
  double temperature = .7;
};

struct Gpt {
  explicit Gpt(const Options& o)
      : tokens(256, o.size), places(o.length, o.size), norm({o.size}), head(o.size, 256) {
    for (std::int64_t i = 0; i < o.blocks; ++i) blocks.emplace_back(o.size, o.heads);
    nn::init::normal_(tokens.weight, 0, .02), nn::init::normal_(places.weight, 0, .02);
  }
  /// Bytes i64 [n, length] -> logits of the next ones [n, length, 256].
  Tensor operator()(const Tensor& bytes) const {
    Tensor x = tokens(bytes) + slice(places.weight, 0, 0, bytes.size(1));
    for (auto& block : blocks) x = block(x, true);
    return head(norm(x));
  }
  void each(nn::Visit& v) {
    v("tokens", tokens), v("places", places);
    for (std::size_t i = 0; i < blocks.size(); ++i) v("blocks." + std::to_string(i), blocks[i]);
    v("norm", norm), v("head", head);
  }
  nn::Embedding tokens, places;
  std::vector<nn::TransformerBlock> blocks;
  nn::LayerNorm norm;
  nn::Linear head;
};

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// The text of a file, or of all C++ sources of a folder, without build folders, in the order of their names.
std::string corpus(const fs::path& path) {
  if (fs::is_regular_file(path)) return read(path);
  std::vector<fs::path> files;
  for (auto it = fs::recursive_directory_iterator(path); it != fs::recursive_directory_iterator(); ++it) {
    const std::string end = it->path().extension(), name = it->path().filename();
    if (it->is_directory() && (name.starts_with('.') || name.starts_with("build")))
      it.disable_recursion_pending();
    if (it->is_regular_file() && (end == ".cpp" || end == ".h" || end == ".cu" || end == ".cuh"))
      files.push_back(it->path());
  }
  std::ranges::sort(files);
  std::string text;
  for (auto& f : files) text += read(f);
  if (text.empty()) fail<ValueError>(path.string(), " holds no C++ sources; name a text file");
  return text;
}

/// `text`, continued by the model, with bytes that occur in `corpus`.
std::string written(const Gpt& gpt, std::string text, const std::string& corpus, const Options& o,
                    Device device) {
  const NoGrad quiet;
  std::vector<float> never(256, -std::numeric_limits<float>::infinity());
  for (const char c : corpus) never[static_cast<unsigned char>(c)] = 0;
  const Tensor allowed = to(from_range(never), device);
  for (std::int64_t i = 0; i < o.sample; ++i) {
    const std::string seen =
        text.substr(text.size() - std::min<std::size_t>(text.size(), static_cast<std::size_t>(o.length)));
    std::vector<std::int64_t> bytes;
    for (const char c : seen) bytes.push_back(static_cast<unsigned char>(c));
    const Tensor logits = select(gpt(to(unsqueeze(from_range(bytes), 0), device)), 1, -1);
    // The largest of logits with Gumbel noise is a draw from their softmax.
    const Tensor noise = -log(-log(uniform(logits.shape(), 1e-20, 1, DType::f32, device)));
    text += static_cast<char>(argmax(logits / o.temperature + noise + allowed).item<std::int64_t>());
  }
  return text;
}

int run(const Options& o) {
  const dist::Group& group = dist::init();
  if (group.rank() != 0) std::cout.setstate(std::ios::failbit);  // rank 0 alone prints
  manual_seed(static_cast<std::uint64_t>(o.seed));
  const Device device = cuda_available() ? Device::cuda() : Device::cpu();
  const std::string text = corpus(o.text);
  const std::size_t held = text.size() / 20;  // the end of the text, for validation
  const std::string_view all = text;
  Gpt gpt(o);
  nn::to(gpt, device);
  std::cout << text.size() << " bytes, " << nn::num_parameters(gpt) << " parameters\n";

  dist::Replicas replicas(gpt, {.shards = o.shards ? o.shards : group.size() == 1 ? 1 : 8});
  const auto loss_of = [&](const Batch& b) {
    return cross_entropy(reshape(gpt(b[0]), {-1, 256}), reshape(b[1], {-1}));
  };
  const TextDataset rest(all.substr(all.size() - held), o.length);
  const Tensor places = to(
      linspace(0, static_cast<double>(rest.size() - 1), std::min<std::int64_t>(rest.size(), 64)), DType::i64);
  const auto held_out = [&] {
    const NoGrad quiet;
    Batch b = rest.batch(places);
    for (Tensor& t : b) t = to(t, device);
    return loss_of(b).item();
  };
  optim::AdamW adam(nn::parameters(gpt), {.lr = 2e-3, .beta2 = .95, .weight_decay = .1});
  const optim::Cosine rate{2e-3, o.steps, std::min<std::int64_t>(100, o.steps / 10), 1e-4};
  DataLoader loader(TextDataset(all.substr(0, all.size() - held), o.length),
                    {.batch_size = o.batch,
                     .drop_last = true,
                     .seed = static_cast<std::uint64_t>(o.seed),
                     .device = device,
                     .shards = replicas.shards()});
  const auto began = std::chrono::steady_clock::now();
  for (std::int64_t step = 0; step < o.steps;)
    for (auto& batch : loader) {
      adam.zero_grad();
      const Tensor loss = replicas.backward(batch, loss_of);
      optim::clip_grad_norm(adam.parameters(), 1);
      adam.lr = rate(step);
      adam.step();
      if (++step % 100 == 0 || step == o.steps) {
        const double nats = loss.item();  // waits for the step
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
        const auto bytes = static_cast<double>(step * o.batch * o.length);
        std::cout << "step " << step << "  loss " << nats << ", held out " << held_out() << " nats a byte, "
                  << seconds.count() << " s, " << std::llround(bytes / seconds.count()) << " bytes a second"
                  << std::endl;
      }
      if (step == o.steps) break;
    }
  std::cout << "---\n" << written(gpt, "Tensor ", text, o, device) << "\n---\n";
  return 0;
}

int main(int argc, char** argv) try {
  Options o;
  tools::Options options("Learns to write like a text, byte by byte, and writes.");
  options.add("text", o.text, "a text file, or a folder of C++ sources");
  options.add("--steps", o.steps, "of training").range(1, 10000000);
  options.add("--batch", o.batch, "texts a step").range(1, 65536);
  options.add("--length", o.length, "bytes that the model sees").range(1, 65536);
  options.add("--size", o.size, "numbers a byte: a multiple of --heads").range(1, 65536);
  options.add("--heads", o.heads, "of attention").range(1, 1024);
  options.add("--blocks", o.blocks, "of the transformer").range(1, 1024);
  options.add("--sample", o.sample, "bytes to write").range(0, 1000000);
  options.add("--temperature", o.temperature, "of writing").positive();
  options.add("--seed", o.seed, "of all random choices").not_negative();
  options
      .add("--shards", o.shards,
           "parts of a batch: the same number gives the same bits on every number of ranks")
      .range(1, 65536)
      .default_text("1, on several ranks 8");
  if (const auto status = options.parse(argc, argv)) return *status;
  return run(o);
} catch (const std::exception& e) {
  std::cerr << "char_gpt: " << e.what() << '\n';
  return 1;
}
