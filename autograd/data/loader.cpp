// DataLoader: a thread makes the batches of an epoch ahead.
#include <bobbin/data.h>
#include <bobbin/elementwise.h>
#include <bobbin/random.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace bobbin {

// The batches of one epoch, in order. A thread makes them ahead if prefetch is positive.
struct DataLoader::Iterator::Source {
  DatasetPtr dataset;
  DataLoaderOptions options;
  Tensor order;
  std::int64_t epoch, batches, next = 0;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::exception_ptr error;
  bool ended = false;
  std::jthread worker;  // last, so that it ends before the members that it uses

  Batch make(std::int64_t i) const {
    const NoGrad quiet;
    const auto& [begin, end, of] = options.shards;
    Batch batch = make_shard(i, begin);
    if (end - begin == 1) return batch;
    std::vector<Batch> all{std::move(batch)};
    for (std::int64_t s = begin + 1; s < end; ++s) all.push_back(make_shard(i, s));
    Batch joined;
    for (std::size_t k = 0; k < all.front().size(); ++k) {
      std::vector<Tensor> parts;
      for (const Batch& b : all) parts.push_back(b.at(k));
      joined.push_back(concat(parts, 0));
    }
    return joined;
  }

  Batch make_shard(std::int64_t i, std::int64_t shard) const {
    // The random numbers of a shard depend on seed, epoch, batch and shard alone, not on the thread.
    const auto draw = static_cast<std::uint64_t>((i + 1) << 20 | shard * ((1 << 20) / options.shards.of));
    const GeneratorScope draws({options.seed, static_cast<std::uint64_t>(epoch) << 44 | draw});
    const std::int64_t start = i * options.batch_size,
                       count = std::min(options.batch_size, order.numel() - start);
    const auto border = [&](std::int64_t s) { return start + options.shards.first_row(s, count); };
    Batch batch = dataset->batch(contiguous(slice(order, 0, border(shard), border(shard + 1))));
    for (Tensor& t : batch) t = to(t, options.device);
    return batch;
  }

  void work(const std::stop_token& stop) {
    try {
      for (std::int64_t i = 0; i < batches && !stop.stop_requested(); ++i) {
        Batch batch = make(i);
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] {
          return stop.stop_requested() || ready.size() < static_cast<std::size_t>(options.prefetch);
        });
        ready.push_back(std::move(batch));
        changed.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    ended = true;
    changed.notify_all();
  }

  // The next batch; false at the end of the epoch.
  bool take(Batch& out) {
    if (options.prefetch <= 0) {
      if (next == batches) return false;
      out = make(next++);
      return true;
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !ready.empty() || ended; });
    if (ready.empty()) {
      if (error) std::rethrow_exception(error);
      return false;
    }
    out = std::move(ready.front());
    ready.pop_front();
    changed.notify_all();
    return true;
  }

  ~Source() {
    worker.request_stop();
    const std::lock_guard lock(mutex);
    changed.notify_all();
  }
};

DataLoader::DataLoader(DatasetPtr dataset, const DataLoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  if (options.batch_size < 1)
    fail<ValueError>("DataLoader: expected a batch size of at least 1; got ", options.batch_size);
  const auto& [first, last, of] = options.shards;
  if (!(0 <= first && first < last && last <= of && of <= 1 << 20))
    fail<ValueError>("DataLoader: shards ", first, " to ", last, " are none of ", of);
}

std::int64_t DataLoader::batches() const {
  const std::int64_t n = dataset_->size(), rest = n % options_.batch_size;
  return n / options_.batch_size + (rest > 0 && !options_.drop_last ? 1 : 0);
}

DataLoader::Iterator DataLoader::begin() {
  auto source = std::make_unique<Iterator::Source>();
  source->dataset = dataset_;
  source->options = options_;
  source->epoch = epoch;
  source->batches = batches();
  const GeneratorScope draws({options_.seed, static_cast<std::uint64_t>(source->epoch) << 44});
  source->order = options_.shuffle ? randperm(dataset_->size()) : arange(dataset_->size());
  if (options_.prefetch > 0) {
    try {
      source->worker = std::jthread([s = source.get()](const std::stop_token& stop) { s->work(stop); });
    } catch (const std::system_error&) {  // the system has no thread left: the loop makes its batches itself
      source->options.prefetch = 0;
    }
  }
  Iterator first(std::move(source));
  ++first;
  ++epoch;  // an epoch that could not begin does not count
  return first;
}

DataLoader::Iterator::Iterator(std::unique_ptr<Source> source) : source_(std::move(source)) {}
DataLoader::Iterator::Iterator(Iterator&&) noexcept = default;
DataLoader::Iterator::~Iterator() = default;

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  done_ = !source_->take(now_);
  return *this;
}

}  // namespace bobbin
