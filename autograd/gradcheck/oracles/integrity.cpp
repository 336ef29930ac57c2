// Calls a function many times, and compares hashes of all tensors that it and its backward pass use.
#include "autograd/gradcheck/oracles/integrity.h"

#include <bobbin/allocator.h>
#include <bobbin/autograd.h>
#include <bobbin/random.h>
#include <bobbin/stream.h>
#include <fmt/format.h>

#include <bit>
#include <optional>
#include <unordered_set>

#include "autograd/gradcheck/oracles/gradients.h"

namespace bobbin::gradcheck_detail {
namespace {

std::vector<std::uint64_t> hashes(std::span<const Tensor> x) {
  std::vector<std::uint64_t> out;
  for (const Tensor& t : x) out.push_back(t ? hash(t) : 0);
  return out;
}

}  // namespace

// FNV-1a, byte by byte.
std::uint64_t hash(const Tensor& x) {
  std::uint64_t h = 0xcbf29ce484222325;
  const auto add = [&h](std::uint64_t bits) {
    for (int i = 0; i < 8; ++i, bits >>= 8) h = (h ^ (bits & 0xff)) * 0x100000001b3;
  };
  for (const std::int64_t n : x.shape()) add(static_cast<std::uint64_t>(n));
  const NoGrad quiet;
  if (is_floating(x.dtype()))
    for (const double v : x.detach().to_vector<double>()) add(std::bit_cast<std::uint64_t>(v));
  else
    for (const std::int64_t v : to(x.detach(), DType::i64).to_vector<std::int64_t>())
      add(static_cast<std::uint64_t>(v));
  return h;
}

std::vector<std::uint64_t> saved_hashes(std::span<const Tensor> ys) {
  std::vector<std::uint64_t> out;
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> todo;
  const auto visit = [&](const Node* n) {
    if (n && seen.insert(n).second) todo.push_back(n);
  };
  for (const Tensor& y : ys) visit(y.node().get());
  while (!todo.empty()) {
    const Node* n = todo.back();
    todo.pop_back();
    const auto keep = [&](const Saved& s) { out.push_back(s.tensor ? hash(s.tensor) : 0); };
    for (auto& e : n->inputs) {
      keep(e.saved);
      visit(e.producer.get());
    }
    for (auto& s : n->aux) keep(s);
    keep(n->output);
  }
  return out;
}

namespace {

Flat gradient(const Tensor& x) { return to(x.grad(), DType::f64).to_vector<double>(); }
bool has_gradient(const Tensor& x) { return varied(x) && x.grad(); }

// Checks that two backward passes give twice the gradient of one.
std::string not_twice(std::span<const Tensor> x, const std::vector<Flat>& once) {
  for (std::size_t i = 0, k = 0; i < x.size(); ++i) {
    if (!has_gradient(x[i])) continue;
    const Flat twice = gradient(x[i]), &one = once[k++];
    for (std::size_t j = 0; j < one.size(); ++j)
      if (!(twice[j] == 2 * one[j]) && one[j] == one[j])
        return fmt::format("input {}, flat index {}: two walks leave {}, not twice {}", i, j, twice[j],
                           one[j]);
  }
  return {};
}

// Hashes of the results of a call and of its backward pass.
struct Bits {
  std::uint64_t result;
  std::vector<std::uint64_t> gradients;
};

// Checks inputs, saved tensors and accumulation as well if `wrong` is not null.
Bits call(const std::function<Tensor(Inputs)>& f, Inputs inputs, std::uint64_t seed, Integrity* wrong) {
  default_generator() = {seed, 0};
  const std::vector<Tensor> x = leaves(inputs);
  const auto before = hashes(x);
  const Tensor y = f(x);
  Bits bits{hash(y), {}};
  if (!y.requires_grad()) return bits;
  const Tensor v = uniform(y.shape(), 0.5, 1.5, y.dtype(), y.device());
  const auto saved = wrong ? saved_hashes(std::span(&y, 1)) : std::vector<std::uint64_t>();
  backward(y, v, Retain::yes);
  std::vector<Flat> once;
  for (const Tensor& t : x) {
    if (!has_gradient(t)) continue;
    bits.gradients.push_back(hash(t.grad()));
    once.push_back(gradient(t));
  }
  if (!wrong) return bits;
  if (hashes(x) != before) *wrong = {"the call or its walk changed an input", Verdict::saved_corrupted};
  if (saved_hashes(std::span(&y, 1)) != saved)
    *wrong = {"the walk changed what was saved for it", Verdict::saved_corrupted};
  backward(y, v);
  if (auto found = not_twice(x, once); !found.empty()) *wrong = {found, Verdict::fail};
  return bits;
}

struct Guarded {
  Guarded() { guard_allocations(true); }
  ~Guarded() { guard_allocations(false); }
};

}  // namespace

Integrity check_integrity(const std::function<Tensor(Inputs)>& f, Inputs inputs, std::uint64_t seed,
                          int repeats) {
  const GeneratorScope draws({seed, 0});
  Integrity found;
  const std::int64_t damaged = damaged_guards();
  const Bits first = [&] {
    const Guarded guarded;
    return call(f, inputs, seed, &found);
  }();
  if (damaged_guards() != damaged) found = {"something was written beyond a tensor", Verdict::fail};
  std::optional<Stream> beside;
  for (const Tensor& x : inputs)
    if (x && x.device().is_cuda()) beside.emplace(x.device());
  for (int i = 2; i <= repeats && found.failure.empty(); ++i) {
    std::optional<StreamScope> scope;
    if (beside && i % 2 == 0) scope.emplace(*beside);
    const Bits again = call(f, inputs, seed, nullptr);
    if (again.result != first.result)
      found = {fmt::format("call {} gave another result than the first, from the same seed", i),
               Verdict::nondeterministic};
    else if (again.gradients != first.gradients)
      found = {fmt::format("call {} gave other gradients than the first, from the same seed", i),
               Verdict::nondeterministic};
  }
  return found;
}

}  // namespace bobbin::gradcheck_detail
