// Training that is saved and resumed with new objects ends with the bits of training that never stopped:
// every optimizer, with a schedule, a scaler, averages and a plateau. A checkpoint that does not fit changes
// nothing.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/optim_kinds.h"
#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
using testing::HasSubstr;

namespace {

using Resume = tests::TemporaryDirectory;

// A model with a dropout, its optimizer and all that goes with them. `late` gets its first gradient in
// step 4.
struct Training {
  explicit Training(const tests::OptimizerKind& kind)
      : w(randn({4, 5}).set_requires_grad()),
        late(randn({5, 3}).set_requires_grad()),
        optimizer(kind.make({w, late})),
        ema(optimizer->parameters(), .9) {
    scaler.scale_factor = 1024;
    scaler.patience = 7;
    optimizer->schedule = optim::Cosine{.05, 20, 3};
  }
  void run(int from, int to) {
    for (int i = from; i < to; ++i) {
      const Tensor h = dropout(tanh(matmul(randn({8, 4}), w)), .3);
      Tensor loss = sum(square(h));
      if (i >= 4) loss = loss + sum(square(matmul(h, late)));
      if (i == 2) loss = loss * std::numeric_limits<double>::infinity();  // a step that the scaler leaves out
      optimizer->zero_grad();
      backward(scaler.scale(loss));
      if (scaler.step(*optimizer)) ema.update();
      plateau(loss.item());
    }
  }
  StateDict model() const { return {{"w", w}, {"late", late}}; }
  CheckpointParts parts() { return {&scaler, &ema, &plateau}; }
  // All numbers of the training.
  std::map<std::string, std::vector<double>> numbers() {
    std::map<std::string, std::vector<double>> out;
    for (const StateDict& state : {model(), optimizer->state_dict(), ema.state_dict(), scaler.state_dict()})
      for (auto& [name, t] : state) out[name] = t.to_vector<double>();
    out["plateau"] = {plateau.rate, plateau.best, static_cast<double>(plateau.bad)};
    const Generator& g = default_generator();
    out["generator"] = {static_cast<double>(g.seed), static_cast<double>(g.draws)};
    return out;
  }

  Tensor w, late;
  std::unique_ptr<optim::Optimizer> optimizer;
  optim::Ema ema;
  optim::GradScaler scaler;
  optim::Plateau plateau{.rate = 1, .factor = .7, .patience = 1};
};

TEST_F(Resume, TenStepsAndTenAreTwenty) {
  for (const auto& kind : tests::optimizer_kinds()) {
    SCOPED_TRACE(kind.name);
    manual_seed(11);
    Training whole(kind);
    whole.run(0, 20);
    const auto want = whole.numbers();

    manual_seed(11);
    Training first(kind);
    first.run(0, 10);
    save_checkpoint(path, first.model(), *first.optimizer, {{"step", "10"}}, first.parts());

    manual_seed(99);
    Training second(kind);
    second.run(0, 3);  // has other averages and counts
    EXPECT_EQ(load_checkpoint(path, second.model(), *second.optimizer, second.parts()).at("step"), "10");
    second.run(10, 20);
    EXPECT_EQ(second.numbers(), want);
  }
}

TEST_F(Resume, AStateLoadedIntoTheSameObjectChangesNothing) {
  for (const auto& kind : tests::optimizer_kinds()) {
    Training t(kind);
    t.run(0, 6);
    const auto before = t.numbers();
    t.optimizer->load_state_dict(t.optimizer->state_dict());
    t.ema.load_state_dict(t.ema.state_dict());
    t.scaler.load_state_dict(t.scaler.state_dict());
    EXPECT_EQ(t.numbers(), before) << kind.name;
  }
}

TEST_F(Resume, StatesThatAreExchanged) {
  Tensor a = tensor({1, 2}), b = tensor({3, 4});
  load_state("state", {{"a", a}, {"b", b}}, {{"a", b}, {"b", a}});
  EXPECT_EQ(a.to_vector<float>(), (std::vector<float>{3, 4}));
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{1, 2}));
}

// Every tensor of a checkpoint in turn is left out, of another shape, or of another value where only some are
// allowed. Nothing may have changed then.
TEST_F(Resume, ACheckpointThatDoesNotFitChangesNothing) {
  const tests::OptimizerKind adam = tests::optimizer_kinds()[4];
  manual_seed(5);
  Training saved(adam);
  saved.run(0, 6);
  save_checkpoint(path, saved.model(), *saved.optimizer, {}, saved.parts());
  const TensorFile good = load_safetensors(path);
  Training t(adam);
  t.run(0, 3);
  const auto before = t.numbers();
  const auto refuse = [&](const std::string& name, const Tensor& value) {
    TensorFile bad = good;
    bad.tensors.erase(name);
    if (value) bad.tensors[name] = value;
    save_safetensors(path, bad);
    EXPECT_THROW(load_checkpoint(path, t.model(), *t.optimizer, t.parts()), FormatError)
        << name << " " << value;
    EXPECT_EQ(t.numbers(), before) << name << " " << value;
  };
  for (const auto& [name, tensor] : good.tensors) {
    if (name != "optimizer.step.0") refuse(name, {});  // without it, the file is of version 0.1
    refuse(name, zeros({7}, tensor.dtype()));
    refuse(name, zeros(tensor.shape(), tensor.dtype() == DType::f32 ? DType::f64 : DType::f32));
  }
  refuse("unknown", ones({1}));
  for (const char* name :
       {"optimizer.step", "optimizer.step.0", "optimizer.step.1", "scaler.growth_tracker", "plateau.bad"})
    refuse(name, tensor(-1, DType::i64));
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -1.})
    for (const char* name : {"optimizer.lr", "scaler.scale", "plateau.rate"})
      refuse(name, tensor(bad, DType::f64));

  // Parts that were saved must be named, and the other way round.
  save_safetensors(path, good);
  try {
    load_checkpoint(path, t.model(), *t.optimizer);
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("'scaler.scale' is unknown"));
  }
  save_checkpoint(path, saved.model(), *saved.optimizer);
  try {
    load_checkpoint(path, t.model(), *t.optimizer, t.parts());
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("'ema.average.0' is missing"));
  }
  EXPECT_EQ(t.numbers(), before);

  // A model's tensor that cannot be written, behind those that can.
  StateDict model = t.model();
  model["z"] = expand(ones({1}), {3});
  StateDict whole = saved.model();
  whole["z"] = ones({3});
  save_checkpoint(path, whole, *saved.optimizer);
  EXPECT_THROW(load_checkpoint(path, model, *t.optimizer), ShapeError);
  EXPECT_EQ(t.numbers(), before);
}

// Version 0.1 had one count of steps for all parameters.
TEST_F(Resume, ReadsTheStateOfVersion01) {
  const tests::OptimizerKind adam = tests::optimizer_kinds()[4];
  manual_seed(5);
  Training saved(adam);
  for (int i = 0; i < 3; ++i) {
    saved.w.set_grad(ones_like(saved.w)), saved.late.set_grad(ones_like(saved.late));
    saved.optimizer->step();
  }
  save_checkpoint(path, saved.model(), *saved.optimizer);
  TensorFile file = load_safetensors(path);
  EXPECT_EQ(file.tensors.erase("optimizer.step.0") + file.tensors.erase("optimizer.step.1"), 2U);
  save_safetensors(path, file);
  Training t(adam);
  load_checkpoint(path, t.model(), *t.optimizer);
  for (Training* x : {&saved, &t}) {
    x->w.set_grad(full({4, 5}, 2)), x->late.set_grad(full({5, 3}, 2));
    x->optimizer->step();
  }
  EXPECT_EQ(t.w.to_vector<float>(), saved.w.to_vector<float>());
  EXPECT_EQ(t.late.to_vector<float>(), saved.late.to_vector<float>());
  EXPECT_EQ(t.optimizer->state_dict().at("step.1").item<std::int64_t>(), 4);
}

}  // namespace
