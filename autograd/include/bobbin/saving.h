// Checkpoints of training, and NumPy's files. Models alone are saved with safetensors.h.
#pragma once
#include <bobbin/optim.h>
#include <bobbin/read_options.h>
#include <bobbin/schedule.h>
#include <bobbin/state.h>

#include <filesystem>
#include <map>
#include <string>

namespace bobbin {

/// What else a checkpoint holds, where training uses it; null where not.
struct CheckpointParts {
  optim::GradScaler* scaler = nullptr;  ///< as "scaler.NAME"
  optim::Ema* ema = nullptr;            ///< as "ema.NAME"
  optim::Plateau* plateau = nullptr;    ///< its rate, best loss and count, as "plateau.NAME"
};

/// Writes a safetensors file with all that is needed to resume training: the model's tensors as "model.NAME",
/// the optimizer's as "optimizer.NAME", this thread's generator, the further parts, and `notes` (an epoch,
/// say) as metadata. Atomic, as save_safetensors is; throws IoError.
void save_checkpoint(const std::filesystem::path&, const StateDict& model, const optim::Optimizer&,
                     const std::map<std::string, std::string>& notes = {}, const CheckpointParts& = {});
/// Restores the checkpoint, so that training gives the same bits as if it had never stopped, and returns the
/// notes. The parts are those that were saved. Throws IoError or FormatError; nothing has changed then.
std::map<std::string, std::string> load_checkpoint(const std::filesystem::path&, const StateDict& model,
                                                   optim::Optimizer&, const CheckpointParts& = {});

/// Writes one array in NumPy's format, as save_safetensors writes files. Throws DTypeError for bf16, which
/// the format does not have; IoError.
void save_npy(const std::filesystem::path&, const Tensor&);
/// Reads an array of one of Bobbin's dtypes, little- or big-endian, in C or Fortran order; with
/// options.convert also other integers. Format versions 1 to 3. Throws IoError unless the path is a regular
/// file that can be read; FormatError for contents that do not follow the format or that Bobbin does not
/// hold.
Tensor load_npy(const std::filesystem::path&, const ReadOptions& options = {});

/// The arrays of a NumPy archive, by name.
struct ArrayFile : StateDict {
  /// Members that Bobbin cannot read (another dtype, more dimensions, no array): by name, the reason.
  std::map<std::string, std::string> unreadable;
  /// The array of this name. If there is none, throws FormatError, which says why it is unreadable, or
  /// ValueError, which lists names.
  const Tensor& at(const std::string& name) const;
};
/// Writes several arrays into one compressed archive, like numpy.savez_compressed; numpy.load reads it.
/// Throws as save_npy does.
void save_npz(const std::filesystem::path&, const StateDict&);
/// The arrays of such an archive, compressed or not. An array that Bobbin cannot read is left out and named
/// in `unreadable`; if that leaves none, throws FormatError. Throws as load_npy does; FormatError also for an
/// archive that is damaged, has a name twice, or unpacks to more than options.max_unpacked.
ArrayFile load_npz(const std::filesystem::path&, const ReadOptions& options = {});

}  // namespace bobbin
