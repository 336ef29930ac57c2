// Saving models as ONNX files (onnx.ai), for other runtimes: one call of the model is traced, and each
// operation that runs becomes nodes of the file.
#pragma once
#include <bobbin/module.h>

#include <concepts>
#include <filesystem>

namespace bobbin {

/// The names in the file, and whether the batch size is fixed.
struct OnnxOptions {
  StateDict names = {};           ///< the names of the model's tensors in the file; others are numbered
  bool any_batch = false;         ///< the input's first axis may have any size; its name is "n"
  std::string input = "input";    ///< the name of the input
  std::string output = "output";  ///< the name of the output
};

/// Writes the computation of f, a function of one tensor, as ONNX (opset 17), with its parameters. f is
/// called on `example`, and the file takes inputs of that shape and dtype. With `any_batch`, f is called on
/// two, three and five copies of it, joined along the first axis: the calls may differ only in sizes, which
/// must be linear functions of the batch size. Values that depend neither on the example nor on a parameter
/// become constants. Numbers that f reads from tensors (`item`, branches on it, copy_) have the values of
/// that call in the file. Layers keep their mode in the file: call eval(model) first. The results for NaN in
/// maxima and minima, and for conversions that overflow a dtype, depend on the runtime. Works on any device;
/// records nothing on the tape.
///
/// Throws ValueError for an operation that ONNX does not have (dropout, losses, derivatives), with its name;
/// for a tensor that f edits in place; for a computation that any_batch does not support; and for files
/// larger than 2 GiB. Throws ShapeError for any_batch without a first axis; IoError. The file is written as a
/// whole or not at all.
void save_onnx(const std::filesystem::path&, const std::function<Tensor(const Tensor&)>& f,
               const Tensor& example, const OnnxOptions& = {});

/// The same for a module, whose parameters and buffers keep their names.
template<nn::Module M>
requires std::invocable<M&, const Tensor&>
void save_onnx(const std::filesystem::path& path, M& model, const Tensor& example, OnnxOptions options = {}) {
  options.names.merge(nn::state_dict(model));
  save_onnx(path, std::function<Tensor(const Tensor&)>([&model](const Tensor& x) { return model(x); }),
            example, options);
}

}  // namespace bobbin
