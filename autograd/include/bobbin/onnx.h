// Models as ONNX files (onnx.ai), for other runtimes: one call of the model is watched, and each operation it
// ran becomes nodes of the file.
#pragma once
#include <bobbin/module.h>

#include <concepts>
#include <filesystem>

namespace bobbin {

/// How a model is written.
struct OnnxOptions {
  StateDict names = {};           ///< what the model's tensors are called in the file; others are numbered
  bool any_batch = false;         ///< the input's first axis may have any size, and is called "n"
  std::string input = "input";    ///< what its input is called
  std::string output = "output";  ///< what its output is called
};

/// Writes the computation of f, a function of one tensor, as ONNX (opset 17), with its parameters. f is
/// called on `example`, whose shape and dtype become the file's; with `any_batch` it is called on two, three
/// and five copies of it joined along the first axis, and what differs between the calls must be sizes that
/// grow evenly. What does not depend on the example or a parameter is computed now. Values that leave the
/// operations (`item`, branches on it, copy_) stay as they were in that call, and so does what a layer does
/// while training: call eval(model) first. NaN in extremes, and conversions of what does not fit a dtype, are
/// up to the runtime. On any device; nothing is recorded.
///
/// Throws ValueError for an operation that ONNX has no words for (dropout, losses, derivatives), naming it;
/// for a tensor that f edits in place; for a computation that any_batch cannot follow; and for files past
/// 2 GiB. ShapeError for any_batch without a first axis; IoError. The file is written whole or not at all.
void save_onnx(const std::filesystem::path&, const std::function<Tensor(const Tensor&)>& f,
               const Tensor& example, const OnnxOptions& = {});

/// The same of a module, whose parameters and buffers keep their names.
template<nn::Module M>
requires std::invocable<M&, const Tensor&>
void save_onnx(const std::filesystem::path& path, M& model, const Tensor& example, OnnxOptions options = {}) {
  options.names.merge(nn::state_dict(model));
  save_onnx(path, std::function<Tensor(const Tensor&)>([&model](const Tensor& x) { return model(x); }),
            example, options);
}

}  // namespace bobbin
