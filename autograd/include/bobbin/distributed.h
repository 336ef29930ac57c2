// Training on several processes, each a rank of a group: on the cores of one machine, or on several machines.
// A launcher starts the same program once for each rank (mpirun -n 4 ./train), and `dist::init()` finds the
// others. Started without a launcher, the program is alone: every function works, and sends nothing.
//
//   dist::Group& group = dist::init();
//   dist::Replicas replicas(model);
//   DataLoader loader(data, {.batch_size = 128, .shards = replicas.shards()});
//   for (auto& batch : loader) {
//     adam.zero_grad();
//     replicas.backward(batch, [&](const Batch& b) { return cross_entropy(model(b[0]), b[1]); });
//     adam.step();
//   }
//
// The weights after this loop have the same bits for every number of ranks.
#pragma once
#include <bobbin/data.h>
#include <bobbin/error.h>
#include <bobbin/module.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

/// Training on several processes.
namespace bobbin::dist {

/// Another rank has died, hangs, or cannot be reached. The group cannot be used any more: every later call
/// throws this again.
struct PeerLost : Error {
  /// The message names the rank, the collective and what it was for.
  PeerLost(const std::string& message, int lost) : Error(message), rank(lost) {}
  int rank;  ///< of the process that is lost
};

namespace detail {
struct GroupState;
}

/// The processes of a run. Its functions are collectives unless their comment says that they are none: every
/// rank calls the same ones in the same order, with tensors of one shape and dtype, from one thread. They
/// record nothing, leave their arguments as they are, and return tensors on the device of the argument;
/// elements on a GPU travel through the host's memory. `what` is for messages.
///
/// Before a collective sends elements, the ranks compare what they are about to do. If two differ, every rank
/// throws ValueError, which names both. A rank that does not answer within the timeout is lost: PeerLost.
class Group {
 public:
  /// One process alone: rank 0 of 1.
  Group();
  /// For `init` and tests.
  explicit Group(std::shared_ptr<detail::GroupState>);

  /// The number of this process, from 0. No collective.
  int rank() const;
  /// The number of processes. No collective.
  int size() const;
  /// The number of this process among those of its machine, from 0: which GPU to take. No collective.
  int local_rank() const;

  /// The sum over all ranks, in an order that depends on their number alone: neighbours in pairs, then pairs
  /// of pairs. 16-bit floating types are added in f32 and rounded once; integers wrap; bool is "or".
  Tensor all_reduce(const Tensor&, std::string_view what = {}) const;
  /// The tensor of rank `root`.
  Tensor broadcast(const Tensor&, int root = 0, std::string_view what = {}) const;
  /// [n, ...] of each rank, one behind the other: [size() n, ...]. Throws ShapeError for a scalar.
  Tensor all_gather(const Tensor&, std::string_view what = {}) const;
  /// Rows rank() n ... (rank() + 1) n of the sum over all ranks of [size() n, ...]. Throws ShapeError if the
  /// rows cannot be divided.
  Tensor reduce_scatter(const Tensor&, std::string_view what = {}) const;
  /// Returns when every rank has called it.
  void barrier(std::string_view what = {}) const;
  /// Runs f on rank 0 while the others wait, such as for saving a checkpoint. If f throws, the other ranks
  /// throw Error with its message.
  void on_root(const std::function<void()>& f, std::string_view what = {}) const;

 private:
  friend class Replicas;
  std::shared_ptr<detail::GroupState> state_;
};

/// Options of init.
struct InitOptions {
  double timeout = 30;  ///< seconds until a rank that does not answer is lost
};
/// The group of this process. The first call finds the other ranks, by what the launcher has set: mpirun of
/// OpenMPI (OMPI_COMM_WORLD_SIZE, ..._RANK, ..._LOCAL_RANK) and of MPICH (PMI_SIZE, PMI_RANK,
/// MPI_LOCALRANKID); torchrun (WORLD_SIZE, RANK, LOCAL_RANK); srun (SLURM_NTASKS, SLURM_PROCID,
/// SLURM_LOCALID). Later calls return the same group and leave the timeout. Throws ValueError for variables
/// that are no numbers, and Error if the ranks cannot find each other.
Group& init(const InitOptions& = {});

/// A part of a batch that is computed at a time. The batch is cut into a fixed number of shards, whichever
/// ranks compute them, and that number, not the number of ranks, decides the bits of the gradients.
struct Shard {
  std::int64_t index;  ///< of the shard, from 0
  std::int64_t first;  ///< its first row of the batch
  std::int64_t count;  ///< its number of rows
};

/// Options of Replicas.
struct ReplicasOptions {
  std::int64_t shards = 8;               ///< parts of a batch; at least the number of ranks
  std::int64_t bucket_bytes = 32 << 20;  ///< gradients that travel together
  /// false: the ranks' sums are added by the engine where it can (MPI, f32 and f64), and the bits may depend
  /// on the number of ranks.
  bool exact = true;
};

/// Data-parallel training: each rank has the whole model and computes the gradients of its shards of the
/// batch. Gradients are added over all shards in a fixed tree, so that all ranks get the same bits, and for
/// every number of ranks the same. What comes after backward (clipping, GradScaler, optimizers, Ema) then
/// needs no word about ranks: each rank does the same.
///
/// The shards of a rank are computed one after the other. That takes memory for log2(shards / ranks) further
/// sets of gradients.
class Replicas {
 public:
  /// Sends the parameters and buffers of rank 0 to all ranks, and checks that they have arrived. Throws
  /// ValueError if ranks differ in number, shapes or dtypes of the tensors, or in the options; for less than
  /// one shard, more ranks than shards, or buckets of less than one byte.
  explicit Replicas(std::vector<Tensor> parameters, const ReplicasOptions& = {},
                    std::vector<Tensor> buffers = {}, const Group& = init());
  /// The same for the parameters and buffers of a model.
  template<nn::Module M>
  explicit Replicas(M& model, const ReplicasOptions& o = {}, const Group& group = init())
      : Replicas(nn::parameters(model), o, buffers(model), group) {}

  /// The shards that this rank computes; for DataLoaderOptions.
  Shards shards() const;

  /// Calls `loss` for each shard of this rank of a batch of `rows` rows (of all ranks together), and adds the
  /// gradients of the mean over the batch to .grad() of every parameter, on all ranks. `loss` returns the
  /// mean over the rows of the shard: one element, on the tape. It is not called for a shard without rows.
  /// Returns the mean of the losses: f64[], on the loss's device or the CPU, not on the tape. With one shard
  /// this is backward(loss(...)), which returns the loss, draws from the default generator, and keeps the
  /// buffers.
  ///
  /// Draws in `loss` depend on the default generator, which must have the same state on all ranks, and on the
  /// shard. Floating buffers become the mean of what the shards make of them: BatchNorm normalises by the
  /// statistics of a shard, and keeps the mean over all shards. A parameter for which no shard has a gradient
  /// gets none. If it throws, gradients and buffers are as before. Throws ValueError if ranks differ in
  /// `rows` or in the generator's state; ShapeError for a loss of several elements; what `loss` throws;
  /// PeerLost.
  Tensor backward(std::int64_t rows, const std::function<Tensor(const Shard&)>& loss);
  /// The same for a batch of which this rank has its rows alone, as a DataLoader with `shards` makes it.
  Tensor backward(const Batch& mine, const std::function<Tensor(const Batch&)>& loss);

  /// Throws ValueError, which names the first tensor that differs, unless all parameters and buffers have the
  /// same bits on all ranks (any NaN counts as the same).
  void check() const;

 private:
  struct Partial;
  template<nn::Module M>
  static std::vector<Tensor> buffers(M& model) {
    std::vector<Tensor> out;
    struct Buffers final : nn::Visit {
      std::vector<Tensor>* to;
      void on_parameter(const std::string&, Tensor&) override {}
      void on_buffer(const std::string&, Tensor& t) override { to->push_back(t); }
    } visit;
    visit.to = &out;
    model.each(visit);
    return out;
  }
  Partial computed(std::int64_t first, std::int64_t last, std::int64_t rows,
                   const std::function<Tensor(const Shard&)>& loss, const std::vector<Tensor>& buffers_before,
                   std::uint64_t draw) const;
  std::vector<Tensor> summed(std::vector<Partial>, std::int64_t rows, std::uint64_t draw) const;

  Group group_;
  ReplicasOptions options_;
  std::vector<Tensor> parameters_, buffers_;
};

}  // namespace bobbin::dist
