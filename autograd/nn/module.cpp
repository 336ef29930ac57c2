// Functions on all tensors of a model: listing, moving, changing the mode, printing.
#include <bobbin/module.h>
#include <bobbin/tape.h>
#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

namespace bobbin::nn::detail {
namespace {

// Calls f(name, tensor, whether it is a parameter).
template<class F>
class Tensors final : public Visit {
 public:
  explicit Tensors(F f) : f_(std::move(f)) {}

 private:
  void on_parameter(const std::string& name, Tensor& t) override { f_(name, t, true); }
  void on_buffer(const std::string& name, Tensor& t) override { f_(name, t, false); }
  F f_;
};

class Modes final : public Visit {
 public:
  explicit Modes(bool training) : training_(training) {}

 private:
  void on_parameter(const std::string&, Tensor&) override {}
  void on_buffer(const std::string&, Tensor&) override {}
  void on_mode(bool& training) override { training = training_; }
  bool training_;
};

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  std::string name = text ? text.get() : type.name();
  if (const auto colons = name.rfind("::"); colons != std::string::npos && name.back() != '>')
    name = name.substr(colons + 2);
  return name;
}

class Tree final : public Visit {
 public:
  std::string text;
  std::int64_t trained = 0, others = 0;

 private:
  std::string indent() const { return std::string(2 * static_cast<std::size_t>(depth_), ' '); }
  void line(const std::string& name, const Tensor& t, const char* what) {
    std::ostringstream spec;
    spec << t.spec();
    const auto last = name.rfind('.');
    text += fmt::format("{:<34}{:>18}{:>12}{}\n",
                        indent() + name.substr(last == std::string::npos ? 0 : last + 1), spec.str(),
                        t.numel(), what);
  }
  void on_parameter(const std::string& name, Tensor& t) override {
    const bool tied = t.numel() > 0 && !seen_.insert(t.raw()).second;
    line(name, t, tied ? " tied" : "");
    if (!tied) trained += t.numel();
  }
  void on_buffer(const std::string& name, Tensor& t) override {
    line(name, t, " buffer");
    others += t.numel();
  }
  void on_enter(std::string_view name, const std::type_info& type) override {
    text += fmt::format("{}{}: {}\n", indent(), name, type_name(type));
    ++depth_;
  }
  void on_leave() override { --depth_; }
  int depth_ = 1;
  std::set<const void*> seen_;  // parameters that are listed already
};

}  // namespace

StateDict state(const Each& each, bool parameters, bool buffers) {
  StateDict out;
  Tensors visit([&](const std::string& name, Tensor& t, bool trained) {
    if (!(trained ? parameters : buffers)) return;
    if (!out.emplace(name, t).second) fail<ValueError>("module: two parts have the name '", name, "'");
  });
  each(visit);
  return out;
}

std::vector<Tensor> parameters(const Each& each) {
  std::vector<Tensor> out;
  std::set<const void*> seen;
  Tensors visit([&](const std::string&, Tensor& t, bool trained) {
    if (trained && (t.numel() == 0 || seen.insert(t.raw()).second)) out.push_back(t);
  });
  each(visit);
  return out;
}

void set_training(const Each& each, bool on) {
  Modes visit(on);
  each(visit);
}

void move(const Each& each, const std::function<Tensor(const Tensor&)>& change) {
  struct Move {
    Tensor from, to;
  };
  const NoGrad quiet;
  std::map<const void*, Move> moves;            // a parameter that is named twice stays one tensor
  std::vector<std::pair<Tensor*, Tensor>> all;  // all new tensors before the first assignment: they may throw
  Tensors visit([&](const std::string&, Tensor& t, bool) {
    Move& move = moves[t.raw()];
    const Tensor& before = move.from;
    if (!before || t.numel() == 0 || before.shape() != t.shape() || before.strides() != t.strides()) {
      move = {t, change(t.detach())};
      if (t.requires_grad()) move.to.set_requires_grad();
    }
    all.emplace_back(&t, move.to);
  });
  each(visit);
  for (auto& [t, now] : all) *t = std::move(now);
}

std::string summary(const Each& each, const std::type_info& type) {
  Tree tree;
  each(tree);
  return fmt::format("{}\n{}{} parameters{}\n", type_name(type), tree.text, tree.trained,
                     tree.others > 0 ? fmt::format(", {} numbers in buffers", tree.others) : "");
}

}  // namespace bobbin::nn::detail
