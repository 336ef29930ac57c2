// Data-parallel gradients: each shard of a batch has its own backward pass, and the tree of shards decides
// the order in which gradients are added.
#include <bobbin/autograd.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cstring>

#include "autograd/distributed/buckets.h"
#include "autograd/distributed/group_state.h"
#include "ops/wide.h"

namespace bobbin::dist {
namespace {

// Draws of shards have a key of their own, so that they are none of the caller's.
constexpr std::uint64_t shard_key = 0xD1B5'4A32'D192'ED03;

// The hash of a tensor's bits, in which any NaN counts as the same.
std::int64_t hash(const Tensor& t) {
  const Tensor x = contiguous(to(t.detach(), Device::cpu()));
  std::uint64_t h = 0xcbf2'9ce4'8422'2325;
  visit(x.dtype(), [&]<class T>(Type<T>) {
    for (const T& element : x.data<T>()) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, &element, sizeof element);
      if constexpr (!std::is_integral_v<T>)
        if (!(static_cast<double>(element) == static_cast<double>(element))) bits = ~std::uint64_t{0};
      h = (h ^ bits) * 0x9E37'79B9'7F4A'7C15;
      h ^= h >> 32;
    }
  });
  return static_cast<std::int64_t>(h);
}

// The gradients, and what is as it was if a pass throws.
class Restore {
 public:
  explicit Restore(const std::vector<Tensor>& parameters, const std::vector<Tensor>& buffers)
      : parameters_(parameters), buffers_(buffers) {
    for (const Tensor& p : parameters_) grads.push_back(p.grad());
    for (const Tensor& b : buffers_) values.push_back(clone(b));
  }
  ~Restore() {
    if (done) return;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (parameters_[i].requires_grad()) Tensor(parameters_[i]).set_grad(grads[i]);
    for (std::size_t i = 0; i < buffers_.size(); ++i) Tensor(buffers_[i]).copy_(values[i]);
  }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  std::vector<Tensor> grads, values;
  bool done = false;

 private:
  const std::vector<Tensor>&parameters_, &buffers_;
};

}  // namespace

// Sums over the shards of a node: of each parameter's gradient, undefined where there is none; of each buffer
// times the share of its shard in the batch, f64; of the loss times that share, f64.
struct Replicas::Partial {
  std::vector<Tensor> terms;
};

Replicas::Replicas(std::vector<Tensor> parameters, const ReplicasOptions& options,
                   std::vector<Tensor> buffers, const Group& group)
    : group_(group), options_(options), parameters_(std::move(parameters)), buffers_(std::move(buffers)) {
  if (options.shards < 1 || options.shards < group.size())
    fail<ValueError>("Replicas: expected at least as many shards as ranks; got ", options.shards, " for ",
                     group.size(), " ranks");
  if (options.bucket_bytes < 1)
    fail<ValueError>("Replicas: expected bucket_bytes of at least 1; got ", options.bucket_bytes);
  if (group.size() == 1) return;
  const NoGrad quiet;
  const std::vector<std::int64_t> numbers{options.shards, options.bucket_bytes, options.exact,
                                          static_cast<std::int64_t>(parameters_.size()),
                                          static_cast<std::int64_t>(buffers_.size())};
  constexpr const char* names[] = {"shards", "bucket_bytes", "exact", "the number of parameters",
                                   "the number of buffers"};
  const auto all = group_.all_gather(from_range(numbers), "options of Replicas").to_vector<std::int64_t>();
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i] != all[i % numbers.size()])
      fail<ValueError>("Replicas: ", names[i % numbers.size()], " is ", all[i % numbers.size()],
                       " on rank 0, but ", all[i], " on rank ", i / numbers.size());
  for (auto* const list : {&parameters_, &buffers_})
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string what = (list == &parameters_ ? "parameter " : "buffer ") + std::to_string(i);
      const Tensor root = group_.broadcast((*list)[i], 0, what);
      if (group_.rank() != 0) (*list)[i].copy_(root);
    }
  check();
}

Shards Replicas::shards() const {
  const Range own = part_of(options_.shards, group_.rank(), group_.size());
  return {own.first, own.last, options_.shards};
}

void Replicas::check() const {
  std::vector<std::int64_t> hashes;
  for (auto* const list : {&parameters_, &buffers_})
    for (const Tensor& t : *list) hashes.push_back(hash(t));
  if (group_.size() == 1 || hashes.empty()) return;
  const auto all = group_.all_gather(from_range(hashes), "hashes of tensors").to_vector<std::int64_t>();
  for (std::size_t i = 0; i < hashes.size(); ++i)
    for (std::size_t j = i; j < all.size(); j += hashes.size()) {
      if (all[j] == all[i]) continue;
      const bool parameter = i < parameters_.size();
      const Tensor& t = parameter ? parameters_[i] : buffers_[i - parameters_.size()];
      fail<ValueError>("Replicas: ", parameter ? "parameter " : "buffer ",
                       parameter ? i : i - parameters_.size(), ", ", t.spec(),
                       ", differs between rank 0 and rank ", j / hashes.size());
    }
}

// The sums over the shards of a node of the tree. On a path down the tree, each level holds one set of
// gradients.
Replicas::Partial Replicas::computed(std::int64_t first, std::int64_t last, std::int64_t rows,
                                     const std::function<Tensor(const Shard&)>& loss,
                                     const std::vector<Tensor>& before, std::uint64_t draw) const {
  if (last - first > 1) {
    const std::int64_t m = middle({first, last});
    Partial left = computed(first, m, rows, loss, before, draw);
    const Partial right = computed(m, last, rows, loss, before, draw);
    for (std::size_t i = 0; i < left.terms.size(); ++i) {
      Tensor& l = left.terms[i];
      if (right.terms[i]) l = l ? add(l, right.terms[i]) : right.terms[i];
    }
    return left;
  }
  Partial out;
  out.terms.resize(parameters_.size() + buffers_.size() + 1);
  const Shards all = shards();
  const std::int64_t begin = all.first_row(first, rows), count = all.first_row(last, rows) - begin;
  if (count == 0) return out;
  const double share = static_cast<double>(count) / static_cast<double>(rows);
  for (std::size_t i = 0; i < buffers_.size(); ++i) Tensor(buffers_[i]).copy_(before[i]);
  const Tensor value = [&] {
    const GeneratorScope draws(
        {default_generator().seed ^ shard_key,
         (draw * static_cast<std::uint64_t>(options_.shards) + static_cast<std::uint64_t>(first)) << 20});
    const GradMode record(true);
    const Tensor l = loss({first, begin, count});
    if (!l || l.numel() != 1)
      fail<ShapeError>("Replicas: expected a loss of one element; got ", l ? l.shape() : Shape{0});
    bobbin::backward(l, full_like(l.detach(), share));
    return l.detach();
  }();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].requires_grad()) continue;
    if (const Tensor g = parameters_[i].grad()) out.terms[i] = wide(g);  // 16-bit types are added in f32
    Tensor(parameters_[i]).set_grad({});
  }
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    if (is_floating(buffers_[i].dtype()))
      out.terms[parameters_.size() + i] = to(buffers_[i], DType::f64) * share;
  out.terms.back() = reshape(to(value, DType::f64) * share, {});
  return out;
}

// The sums over all shards from those of this rank's nodes.
std::vector<Tensor> Replicas::summed(std::vector<Partial> mine, std::int64_t rows, std::uint64_t draw) const {
  const std::size_t n = mine.front().terms.size();
  if (group_.size() == 1) return std::move(mine.front().terms);
  // What ranks must agree on, and then for each tensor whether this rank has it.
  const Generator& g = default_generator();
  std::vector<std::int64_t> message{rows, static_cast<std::int64_t>(g.seed), static_cast<std::int64_t>(draw)};
  constexpr const char* names[] = {"the batch's rows", "the generator's seed", "the generator's draws"};
  const std::size_t agreed = message.size();
  for (std::size_t i = 0; i < n; ++i)
    message.push_back(
        std::ranges::any_of(mine, [&](const Partial& p) { return static_cast<bool>(p.terms[i]); }));
  const auto all =
      group_.all_gather(from_range(message), "which gradients there are").to_vector<std::int64_t>();
  std::vector<bool> present(n);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::size_t j = i % message.size();
    if (j >= agreed)
      present[j - agreed] = present[j - agreed] || all[i] != 0;
    else if (all[i] != all[j])
      fail<ValueError>("Replicas: ", names[j], " is ", all[j], " on rank 0, but ", all[i], " on rank ",
                       i / message.size());
  }
  std::vector<TensorSpec> specs;
  for (const Tensor& p : parameters_) specs.push_back({p.shape(), compute_type(p.dtype()), p.device()});
  for (const Tensor& b : buffers_) specs.push_back({b.shape(), DType::f64, b.device()});
  specs.push_back(
      {{}, DType::f64, mine.front().terms.back() ? mine.front().terms.back().device() : Device::cpu()});

  std::vector<Tensor> out(n);
  for (const Bucket& bucket : buckets(specs, present, options_.bucket_bytes)) {
    std::vector<std::vector<Tensor>> terms;
    for (const Partial& p : mine) {
      terms.emplace_back();
      for (const std::size_t i : bucket.tensors) terms.back().push_back(p.terms[i]);
    }
    std::vector<TensorSpec> of;
    for (const std::size_t i : bucket.tensors) of.push_back(specs[i]);
    std::vector<Tensor> sums = add_bucket(*group_.state_, options_.shards, of, terms,
                                          "bucket " + std::to_string(bucket.number), options_.exact);
    for (std::size_t k = 0; k < sums.size(); ++k) out[bucket.tensors[k]] = std::move(sums[k]);
    // Room for the sums.
    for (Partial& p : mine)
      for (const std::size_t i : bucket.tensors) p.terms[i] = {};
  }
  return out;
}

Tensor Replicas::backward(std::int64_t rows, const std::function<Tensor(const Shard&)>& loss) {
  if (rows < 1) fail<ValueError>("Replicas: expected a batch of at least one row; got ", rows);
  if (options_.shards == 1) {  // an ordinary backward pass, which costs nothing more
    const Tensor l = loss({0, 0, rows});
    bobbin::backward(l);
    return l.detach();
  }
  const NoGrad quiet;
  const std::uint64_t draw = default_generator().draws++;
  Restore before(parameters_, buffers_);
  for (const Tensor& p : parameters_)
    if (p.requires_grad()) Tensor(p).set_grad({});

  std::vector<Partial> mine;
  for (const Range& node : cover(options_.shards, part_of(options_.shards, group_.rank(), group_.size())))
    mine.push_back(computed(node.first, node.last, rows, loss, before.values, draw));
  std::vector<Tensor> sums = summed(std::move(mine), rows, draw);

  std::vector<Tensor> grads(parameters_.size()), values(buffers_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (sums[i]) {
      const Tensor g = to(std::exchange(sums[i], {}), parameters_[i].dtype());
      grads[i] = before.grads[i] ? add(before.grads[i], g) : g;
    } else {
      grads[i] = before.grads[i];
    }
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    if (const Tensor& sum = sums[parameters_.size() + i]) values[i] = to(sum, buffers_[i].dtype());
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].requires_grad()) Tensor(parameters_[i]).set_grad(std::move(grads[i]));
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    if (values[i]) Tensor(buffers_[i]).copy_(values[i]);
  before.done = true;
  return sums.back();
}

Tensor Replicas::backward(const Batch& mine, const std::function<Tensor(const Batch&)>& loss) {
  if (mine.empty() || mine.front().rank() < 1)
    fail<ShapeError>("Replicas: expected a batch of tensors with rows");
  const std::int64_t own = mine.front().size(0);
  const auto all =
      group_.all_gather(full({1}, static_cast<double>(own), DType::i64), "rows").to_vector<std::int64_t>();
  std::int64_t rows = 0;
  for (const std::int64_t n : all) rows += n;
  const Shards own_shards = shards();
  const auto border = [&](const Range& r) {
    return Range{own_shards.first_row(r.first, rows), own_shards.first_row(r.last, rows)};
  };
  for (int rank = 0; rank < group_.size(); ++rank) {
    const Range theirs = border(part_of(options_.shards, rank, group_.size()));
    if (all[static_cast<std::size_t>(rank)] != theirs.last - theirs.first)
      fail<ShapeError>("Replicas: of a batch of ", rows, " rows in ", options_.shards, " shards, rank ", rank,
                       " has ", theirs.last - theirs.first, "; its batch has ",
                       all[static_cast<std::size_t>(rank)],
                       ". A DataLoader with .shards = replicas.shards() divides batches");
  }
  const std::int64_t begin = own_shards.first_row(own_shards.first, rows);
  return backward(rows, [&](const Shard& shard) {
    Batch part;
    for (const Tensor& t : mine)
      part.push_back(slice(t, 0, shard.first - begin, shard.first - begin + shard.count));
    return loss(part);
  });
}

}  // namespace bobbin::dist
