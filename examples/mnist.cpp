// Trains a classifier of handwritten digits (MNIST) or of clothes (Fashion-MNIST), tests it and draws
// pictures.
//   tools/mnist              fetches the data and runs this
//   mnist --data DIR         mnist --help lists the options
//   mpirun -n 4 mnist        on several processes
#include <bobbin/bobbin.h>
#include <fmt/format.h>

#include <cmath>
#include <csignal>
#include <cstdio>

#include "mnist_data.h"
#include "mnist_file.h"
#include "mnist_model.h"
#include "mnist_pictures.h"
#include "mnist_tally.h"
#include "progress.h"
#include "tools/options/options.h"

namespace {

namespace fs = std::filesystem;
using namespace bobbin;

struct Options {
  std::string dataset = "mnist", model = "mlp", device = "auto";
  fs::path data, save, load, out = "out";
  std::vector<std::int64_t> hidden;  // empty: the sizes of the file that is loaded, else 256
  std::int64_t epochs = 8, batch = 0, seed = 1, shards = 0;
  double lr = 0;  // 0: the model's default
  int threads = num_threads();
  bool augment = true;
};

// --- training and testing ---

volatile std::sig_atomic_t stopped = 0;

void on_signal(int signal) {
  stopped = 1;
  std::signal(signal, SIG_DFL);  // a second signal ends the program at once
}

/// Scores a model; `predicted`, if not null, gets the class of each image.
Tally evaluate(Classifier& model, const Examples& set, std::vector<std::int64_t>* predicted = nullptr) {
  const NoGrad quiet;
  nn::eval(model);
  Tally tally(set.labels.device());
  for (std::int64_t start = 0; start < set.size(); start += 1000) {
    const Tensor labels = slice(set.labels, 0, start, start + 1000);
    const Tensor logits = model.classify(slice(set.images, 0, start, start + 1000)), best = argmax(logits, 1);
    tally.add(cross_entropy(logits, labels), best, labels);
    if (predicted) std::ranges::copy(best.to_vector<std::int64_t>(), std::back_inserter(*predicted));
  }
  nn::train(model);
  return tally;
}

/// Trains until all epochs are done or a signal comes.
History train(Classifier& model, const Examples& set, const Options& o) {
  const dist::Group& group = dist::init();
  // A twelfth of the images is for validation: the same images for every seed, so that training that
  // continues from a file is not validated on images that it has trained on.
  const Device device = set.labels.device();
  const std::int64_t held = std::max<std::int64_t>(1, set.size() / 12), n = set.size() - held;
  const Tensor split = [&] {
    const GeneratorScope draws({12, 0});
    return randperm(set.size(), device);
  }();
  const Tensor rows = slice(split, 0, held, set.size()), held_rows = slice(split, 0, 0, held);
  const Examples validation{index_select(set.images, 0, held_rows), index_select(set.labels, 0, held_rows)};

  optim::Adam adam(nn::parameters(model), {.beta2 = model.kind == "mlp" ? 0.999 : 0.95});
  const std::int64_t steps = (n + o.batch - 1) / o.batch, every = std::max<std::int64_t>(1, steps / 10);
  const optim::OneCycle cycle{o.lr, o.epochs * steps};
  const optim::Linear line{o.lr, o.epochs * steps};
  const auto rate = [&](std::int64_t step) { return model.kind == "mlp" ? cycle(step) : line(step); };
  const ImageSet& kind = dataset(o.dataset);
  const RandomAffineOptions changes{.shift = model.kind == "mlp" || kind.symmetric ? 1 : 2,
                                    .flip = kind.symmetric ? 0.5 : 0,
                                    .fill = kind.background()};
  const auto augmented = [&](const Tensor& rows) {
    return reshape(random_affine(reshape(rows, {rows.size(0), 1, side, side}), changes), rows.shape());
  };

  // Of this rank's shards: over the epoch, and since the last point of the curve.
  Tally all(device), recent(device);
  const std::int64_t shards = o.shards ? o.shards : group.size() == 1 ? 1 : 8;
  dist::Replicas replicas(model, {.shards = shards});
  const auto train_on = [&](const Tensor& batch) {
    adam.zero_grad();
    replicas.backward(batch.numel(), [&](const dist::Shard& shard) {
      const Tensor part = slice(batch, 0, shard.first, shard.first + shard.count);
      const Tensor labels = index_select(set.labels, 0, part);
      Tensor images = index_select(set.images, 0, part);
      if (o.augment) images = augmented(images);
      const Tensor logits = model(images), loss = cross_entropy(logits, labels);
      const Tensor predicted = argmax(logits.detach(), 1);
      for (Tally* tally : {&all, &recent}) tally->add(loss.detach(), predicted, labels);
      return loss;
    });
    adam.step();
  };
  // On a GPU a step becomes one graph, which reads the batch's numbers from here.
  Tensor batch = zeros({o.batch}, DType::i64, device);
  Captured step_on_batch = capture([&] { train_on(batch); });

  History history;
  Progress progress(n * o.epochs);
  for (std::int64_t epoch = 0; epoch < o.epochs; ++epoch) {
    const Tensor order = index_select(rows, 0, randperm(n, device));
    const double began = progress.seconds();
    all.clear(), recent.clear();
    for (std::int64_t step = 0; step < steps && !stopped; ++step) {
      adam.lr = rate(epoch * steps + step);
      const Tensor next = slice(order, 0, step * o.batch, (step + 1) * o.batch);
      if (next.numel() == o.batch && shards == 1) {
        batch.copy_(next);
        step_on_batch();
      } else {
        train_on(next);
      }
      const std::int64_t done = std::min(n, (step + 1) * o.batch);
      if ((step + 1) % every == 0) {
        const double at = static_cast<double>(epoch) + static_cast<double>(done) / static_cast<double>(n);
        const Score point = recent.score_of_all(group, at);
        recent.clear();
        if (!std::isfinite(point.loss))
          fail<Error>("the loss is ", point.loss, " in epoch ", epoch + 1, ", batch ", step + 1,
                      ": try a lower --lr");
        history.training.push_back(point);
      }
      progress.update(epoch * n + done, [&] {
        const Score s = all.score();
        return fmt::format("epoch {}/{}  loss {:.4f}  {:.2f} %", epoch + 1, o.epochs, s.loss, s.accuracy);
      });
    }
    if (stopped) {
      progress.line(fmt::format("stopped in epoch {} of {}", epoch + 1, o.epochs));
      break;
    }
    const double seconds = progress.seconds() - began;
    history.seconds += seconds;
    const Score trained = all.score_of_all(group),
                held_out = evaluate(model, validation).score(static_cast<double>(epoch + 1));
    history.validation.push_back(held_out);
    progress.line(fmt::format(
        "epoch {}/{}  training: loss {:.4f}, {:.2f} %  validation: loss {:.4f}, {:.2f} %  ({:.0f} images/s)",
        epoch + 1, o.epochs, trained.loss, trained.accuracy, held_out.loss, held_out.accuracy,
        static_cast<double>(n) / seconds));
  }
  return history;
}

/// Tests the model, prints the results and draws pictures.
void report(Classifier& model, const Examples& test, const Options& o) {
  std::vector<std::int64_t> predicted;
  const Tally tally = evaluate(model, test, &predicted);
  const Score score = tally.score();
  fmt::print("test accuracy {:.2f} % ({} of {}), loss {:.4f}\n", score.accuracy, tally.correct(), test.size(),
             score.loss);

  const auto& names = dataset(o.dataset).names;
  const auto labels = test.labels.to_vector<std::int64_t>();
  std::vector<std::int64_t> counts(classes * classes);
  for (std::size_t i = 0; i < labels.size(); ++i)
    ++counts[static_cast<std::size_t>(labels[i] * classes + predicted[i])];
  print_confusion(counts, names);
  draw_digits(test.images, labels, predicted, names, o.out / "digits.png");
  draw_confusion(counts, names, o.out / "confusion.png");
}

// --- the program ---

Device choose_device(const std::string& name) {
  const Device device =
      name == "cpu" || (name == "auto" && !cuda_available()) ? Device::cpu() : Device::cuda();
  require(device);
  return device;
}

int run(const Options& o) {
  const dist::Group& group = dist::init();
  if (group.rank() != 0 && !std::freopen("/dev/null", "w", stdout)) return 1;  // rank 0 alone prints
  if (group.size() == 1) {  // of several ranks, each ends at once
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
  }
  const Device device = choose_device(o.device);
  set_num_threads(o.threads);
  manual_seed(static_cast<std::uint64_t>(o.seed));

  const ImageSet& set = dataset(o.dataset);
  const Examples training = read_examples(o.data, "train", set, device);
  const Examples test = read_examples(o.data, "t10k", set, device);
  const TensorFile loaded = o.load.empty() ? TensorFile{} : load_safetensors(o.load);
  const std::vector<std::int64_t> usual{256};
  const auto hidden = !o.hidden.empty() ? o.hidden : o.model == "mlp" ? hidden_sizes(loaded, usual) : usual;
  Classifier model(o.model, hidden, set);
  nn::to(model, device);
  if (!o.load.empty()) load_parameters(nn::state_dict(model), loaded, o.load);
  group.on_root([&] { check_outputs(o.out, o.save); }, "--out and --save");

  fmt::print("{}: {} images for training and validation, {} for testing\n", set.title, training.size(),
             test.size());
  std::string where = device.is_cpu() ? fmt::format("{} threads", num_threads()) : "a GPU";
  if (group.size() > 1) where = fmt::format("{} ranks of {}", group.size(), where);
  fmt::print("{} with {} parameters, {}, seed {}, {} images\n", model.title(), nn::num_parameters(model),
             where, o.seed, o.augment ? "augmented" : "unchanged");

  std::fflush(stdout);  // a pipe gets this before the first epoch is over
  const History history = train(model, training, o);
  if (history.seconds > 0) fmt::print("trained in {:.2f} s\n", history.seconds);
  if (group.rank() != 0) return 0;
  // Weights from the middle of the first epoch may be worse than those of the file.
  std::error_code none;
  if (!o.save.empty() && stopped && history.validation.empty() && fs::exists(o.save, none)) {
    fmt::print("left {} as it was: no epoch was completed\n", o.save.string());
  } else if (!o.save.empty()) {
    const auto sizes = fmt::format("{}", fmt::join(hidden, ","));
    save_safetensors(
        o.save, {nn::state_dict(model), {{"model", o.model}, {"hidden", sizes}, {"dataset", o.dataset}}});
    fmt::print("saved {}\n", o.save.string());
  }
  draw_curves(history, o.out / "curves.png");
  draw_filters(model.filters(), o.out / "filters.png");
  if (!stopped) report(model, test, o);
  fmt::print("pictures are in {}\n", o.out.string());
  return stopped ? 130 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  tools::Options options(
      "Trains a classifier on MNIST or Fashion-MNIST, tests it and draws pictures of what it learned.");
  options.add("--dataset", o.dataset, "what the data is").one_of({"mnist", "fashion"});
  options.add("--data", o.data, "directory of the four IDX files")
      .default_text("$BOBBIN_DATA/DATASET, data/DATASET");
  options.add("--model", o.model, "kind of model").one_of({"mlp", "cnn", "cnn-small"});
  options.add("--hidden", o.hidden, "sizes of the hidden layers")
      .delimiter(',')
      .range(1, 65536)
      .default_text("256, or those of the loaded file");
  const auto epochs = options.add("--epochs", o.epochs, "times through the training images").range(0, 100000);
  bool quick = false;
  options.flag("--quick", quick, "3 epochs").excludes(epochs);
  options.add("--batch", o.batch, "images a step")
      .range(1, 1000000)
      .default_text("128, 256 for digits and cnn, 64 for cnn-small");
  const auto lr = options.add("--lr", o.lr, "peak learning rate")
                      .default_text("0.003, 0.005 for clothes and cnn, 0.01 for other cnns");
  options.add("--seed", o.seed, "of all random choices").range(0, std::int64_t{1} << 53);
  options.add("--device", o.device, "where to compute").one_of({"auto", "cpu", "cuda"});
  options.add("--threads", o.threads, "CPU threads").range(1, 1024).default_text("all processors");
  options
      .add("--shards", o.shards,
           "parts of a batch: the same number gives the same bits on every number of ranks")
      .range(1, 65536)
      .default_text("1, on several ranks 8");
  const auto augment = options
                           .flag("--augment,!--no-augment", o.augment,
                                 "shift images by up to a pixel, digits for a cnn by two, and mirror clothes")
                           .default_text("on, but for clothes and an mlp");
  options.add(
      "--save", o.save,
      "write the trained model to a safetensors file; if stopped in the first epoch, not over a file");
  options.add("--load", o.load, "start from a model saved before");
  options.add("--out", o.out, "directory for the pictures");
  if (const auto status = options.parse(argc, argv)) return *status;
  const bool clothes = dataset(o.dataset).symmetric, cnn = o.model == "cnn";
  if (quick) o.epochs = 3;
  if (!augment.given()) o.augment = !clothes || o.model != "mlp";
  if (o.batch == 0) o.batch = cnn && !clothes ? 256 : o.model == "cnn-small" ? 64 : 128;
  if (!lr.given()) o.lr = o.model == "mlp" ? 3e-3 : cnn && clothes ? 5e-3 : 1e-2;
  if (!(o.lr > 0 && o.lr <= 10)) return options.refuse("--lr: expected more than 0 and at most 10");
  if (o.data.empty()) {
    const char* root = std::getenv("BOBBIN_DATA");
    o.data = fs::path(root ? root : "data") / o.dataset;
  }
  try {
    return run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "mnist: {}\n", e.what());
    const bool file = dynamic_cast<const IoError*>(&e) || dynamic_cast<const FormatError*>(&e);
    return file ? 4 : dynamic_cast<const DeviceError*>(&e) ? 5 : 1;
  }
}
