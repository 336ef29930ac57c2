// Checkpoints of training, and NumPy's files. Models alone are saved with safetensors.h.
#pragma once
#include <bobbin/optim.h>
#include <bobbin/state.h>

#include <filesystem>
#include <map>
#include <string>

namespace bobbin {

/// Writes a safetensors file with all that is needed to resume training: the model's tensors as "model.NAME",
/// the optimizer's as "optimizer.NAME", this thread's generator, and `notes` (an epoch, say) as metadata.
/// Atomic, as save_safetensors is; throws IoError.
void save_checkpoint(const std::filesystem::path&, const StateDict& model, const optim::Optimizer&,
                     const std::map<std::string, std::string>& notes = {});
/// Restores the checkpoint, so that training gives the same bits as if it had never stopped, and returns the
/// notes. Throws IoError or FormatError; nothing has changed then.
std::map<std::string, std::string> load_checkpoint(const std::filesystem::path&, const StateDict& model,
                                                   optim::Optimizer&);

/// Writes one array in NumPy's format. Throws DTypeError for bf16, which the format does not have; IoError.
void save_npy(const std::filesystem::path&, const Tensor&);
/// Reads a little-endian array of one of Bobbin's dtypes, in C or Fortran order. Throws IoError, FormatError.
Tensor load_npy(const std::filesystem::path&);
/// Writes several arrays into one compressed archive, like numpy.savez_compressed; numpy.load reads it.
/// Throws as save_npy does.
void save_npz(const std::filesystem::path&, const StateDict&);
/// The arrays of such an archive, compressed or not, by name. Throws as load_npy does.
StateDict load_npz(const std::filesystem::path&);

}  // namespace bobbin
