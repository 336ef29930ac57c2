// Data sets and the loader. A data set has a size and returns the batch of any indices; transforms and
// subsets make new data sets from others; a DataLoader iterates over one in batches:
//   for (auto& batch : DataLoader(data, {.batch_size = 32})) train(batch[0], batch[1]);
// data_files.h reads data sets from files.
#pragma once
#include <bobbin/tensor.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace bobbin {

/// The tensors of a batch, such as images and labels, each with the examples along its first axis.
using Batch = std::vector<Tensor>;

/// Examples, numbered from 0.
class Dataset {
 public:
  virtual ~Dataset() = default;
  /// The number of examples.
  virtual std::int64_t size() const = 0;
  /// The examples of these i64 indices [n], in their order. Several threads may call it at the same time.
  virtual Batch batch(const Tensor& indices) const = 0;
};
/// A data set that several others may share.
using DatasetPtr = std::shared_ptr<const Dataset>;

/// The rows of tensors that have the same number of rows. Tensors on a GPU give batches on that GPU.
/// Throws ShapeError where the numbers of rows differ.
class TensorDataset final : public Dataset {
 public:
  /// Throws ShapeError for an empty list, or if the numbers of rows differ.
  explicit TensorDataset(std::vector<Tensor> tensors);
  /// The number of rows.
  std::int64_t size() const override { return tensors_.front().size(0); }
  /// These rows of each tensor.
  Batch batch(const Tensor& indices) const override;
  /// All rows.
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
};

/// Pieces of length + 1 bytes of a text, one that begins at each index. A model reads the first `length`
/// bytes and predicts the last `length`. Throws ValueError for a text that is not longer than `length`.
class TextDataset final : public Dataset {
 public:
  /// Copies the text.
  TextDataset(std::string_view text, std::int64_t length);
  /// The number of pieces.
  std::int64_t size() const override { return text_.numel() - length_; }
  /// {inputs, targets}, each i64 [n, length].
  Batch batch(const Tensor& indices) const override;

 private:
  Tensor text_;
  std::int64_t length_;
};

/// The same data set, with `change` applied to each batch whenever it is made.
DatasetPtr transformed(DatasetPtr, std::function<Batch(Batch)> change);
/// The examples of these i64 indices only.
DatasetPtr subset(DatasetPtr, Tensor indices);
/// Two data sets: a random share of the examples, drawn with the seed, and the other examples. Throws
/// ValueError unless 0 <= share <= 1.
std::pair<DatasetPtr, DatasetPtr> random_split(DatasetPtr, double share, std::uint64_t seed);

/// Shards first ... last - 1 of a batch that is cut into `of` shards of almost the same number of rows: shard
/// s of n rows has the rows from floor(n s / of) up to floor(n (s + 1) / of).
struct Shards {
  std::int64_t first = 0;  ///< the first one
  std::int64_t last = 1;   ///< behind the last one
  std::int64_t of = 1;     ///< of the whole batch

  /// The row of a batch of `rows` rows at which shard s begins.
  std::int64_t first_row(std::int64_t s, std::int64_t rows) const {
    return rows / of * s + rows % of * s / of;  // the products stay in range
  }
};

/// How a DataLoader makes batches of its data set.
struct DataLoaderOptions {
  std::int64_t batch_size = 1;  ///< examples in a batch
  bool shuffle = true;          ///< a random order for each epoch; else the order of the data set
  bool drop_last = false;       ///< leave out the last batch if it is smaller
  std::uint64_t seed =
      0;  ///< of the orders and of the draws of transforms: an epoch's batches depend on seed and epoch only
  Device device = {};  ///< of the batches
  int prefetch =
      2;  ///< batches that another thread makes ahead; 0: each batch is made when the loop needs it
  /// Makes only these shards of each batch, for training on several processes (Replicas::shards). Transforms
  /// are then called for one shard at a time; their draws depend on the shard, not on who makes it.
  Shards shards = {};
};

/// Iterates over a data set in batches. Each loop over the loader is an epoch.
class DataLoader {
 public:
  /// Throws ValueError for a batch size below 1, and for shards that are not part of the batch or more than
  /// 2^20.
  DataLoader(DatasetPtr, const DataLoaderOptions&);
  /// For a data set by value.
  template<std::derived_from<Dataset> D>
  DataLoader(D dataset, const DataLoaderOptions& o)
      : DataLoader(std::make_shared<const D>(std::move(dataset)), o) {}
  std::int64_t batches() const;  ///< of an epoch

  class Iterator;
  /// The end of an epoch.
  struct End {};
  /// Begins the next epoch.
  Iterator begin();
  /// An iterator equals this after the last batch.
  End end() const { return {}; }

  std::int64_t epoch = 0;  ///< the number of the next epoch; may be set, to continue from it

 private:
  DatasetPtr dataset_;
  DataLoaderOptions options_;
};

/// The batches of one epoch, in their order.
class DataLoader::Iterator {
 public:
  ~Iterator();  ///< stops the thread that makes batches ahead
  /// The new iterator continues the epoch.
  Iterator(Iterator&&) noexcept;
  /// The batch; it may be changed or moved from.
  Batch& operator*() { return now_; }
  /// The batch.
  Batch* operator->() { return &now_; }
  /// The next batch. Throws the exceptions of the data set.
  Iterator& operator++();
  /// Whether the epoch is over.
  bool operator==(End) const { return done_; }

 private:
  friend class DataLoader;
  struct Source;
  explicit Iterator(std::unique_ptr<Source>);
  std::unique_ptr<Source> source_;
  Batch now_;
  bool done_ = false;
};

}  // namespace bobbin
