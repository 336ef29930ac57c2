// All optimizers, each with its options, for the tests that enumerate them.
#pragma once
#include <bobbin/optim.h>

#include <functional>
#include <memory>
#include <vector>

namespace bobbin::tests {

struct OptimizerKind {
  const char* name;
  std::function<std::unique_ptr<optim::Optimizer>(optim::Parameters)> make;
  bool matrices = false;  // takes no other parameters
};

inline std::vector<OptimizerKind> optimizer_kinds() {
  const auto with = []<class Options>(auto type, const Options& o) {
    return [o](optim::Parameters p) -> std::unique_ptr<optim::Optimizer> {
      return std::make_unique<typename decltype(type)::type>(std::move(p), o);
    };
  };
  const auto sgd = [&](const optim::SgdOptions& o) { return with(std::type_identity<optim::Sgd>{}, o); };
  const auto rms = [&](const optim::RmsPropOptions& o) {
    return with(std::type_identity<optim::RmsProp>{}, o);
  };
  return {
      {"sgd", sgd({.lr = .1})},
      {"decay", sgd({.lr = .1, .weight_decay = .01})},
      {"momentum", sgd({.lr = .1, .momentum = .9, .weight_decay = .01})},
      {"nesterov", sgd({.lr = .1, .momentum = .9, .nesterov = true})},
      {"adam", with(std::type_identity<optim::Adam>{}, optim::AdamOptions{.lr = .1, .weight_decay = .01})},
      {"adamw", with(std::type_identity<optim::AdamW>{}, optim::AdamWOptions{.lr = .1})},
      {"rmsprop", rms({.lr = .1, .weight_decay = .01})},
      {"rmsprop, momentum", rms({.lr = .1, .momentum = .9})},
      {"adagrad",
       with(std::type_identity<optim::Adagrad>{}, optim::AdagradOptions{.lr = .1, .lr_decay = .1})},
      {"lion", with(std::type_identity<optim::Lion>{}, optim::LionOptions{.lr = .1, .weight_decay = .01})},
      {"muon", with(std::type_identity<optim::Muon>{}, optim::MuonOptions{.lr = .1}), true}};
}

}  // namespace bobbin::tests
