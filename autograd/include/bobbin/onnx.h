// Saving models as ONNX files (onnx.ai), for other runtimes: one call of the model is traced, and each
// operation that runs becomes nodes of the file.
#pragma once
#include <bobbin/module.h>

#include <concepts>
#include <filesystem>

namespace bobbin {

/// The names in the file, which sizes are fixed, and the versions of the format.
struct OnnxOptions {
  StateDict names = {};           ///< the names of the model's tensors in the file; others are numbered
  Axes open_axes = {};            ///< axes of the input that may have any size: {0} for any batch size
  std::string input = "input";    ///< the name of the input
  std::string output = "output";  ///< the name of the output
  int opset = 17;                 ///< the version of the operators, 17 to 23
  int ir_version = 0;             ///< the version of the format; 0: the one that came with the opset
};

/// Writes the computation of f, a function of one tensor, as ONNX, with its parameters. f is called on
/// `example`, and the file takes inputs of that shape and dtype. With `open_axes`, f is called on two, three
/// and five copies of it, joined along each of these axes: the calls may differ only in sizes, which must be
/// linear functions of the open sizes (or follow from the others in a reshape), and in the sizes of constants
/// that repeat one number. In the file, axis 0 is "n", and axis i "di". Values that depend neither on the
/// example nor on a parameter become constants. Numbers that f reads from tensors (`item`, branches on it,
/// copy_) have the values of that call in the file. Layers keep their mode in the file: call eval(model)
/// first. A layer of RNN, LSTM or GRU is one node, of any batch size and length, but for f64 and under
/// Autocast; so are the normalisations (but for training), and from opset 23 on attention without a mask in
/// f32. The results for NaN in maxima and minima, for conversions that overflow a dtype, for silu and gelu of
/// infinities, for normalised rows whose squares overflow, for batch norm of means that are large beside the
/// deviation, and for recurrent layers of no elements depend on the runtime. Works on any device; records
/// nothing on the tape.
///
/// Throws ValueError for an operation that ONNX does not have (dropout, losses, derivatives), with its name;
/// for a tensor that f edits in place; for a computation that open_axes does not support, such as a slice
/// that reaches beyond the end of an open axis; for an opset that it does not know and an empty name; and for
/// files larger than 2 GiB. Throws ShapeError for open axes that the example lacks; IoError. The file is
/// written as a whole or not at all.
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
