// Writes each sample of the catalogue, in each dtype that its operation takes, as a model of its first input,
// for run_onnx_test: write_onnx_samples DIRECTORY. Prints what ONNX has no words for.
#include <bobbin/bobbin.h>

#include <fstream>
#include <iostream>

using namespace bobbin;

namespace {

// The inputs with all floating ones in another dtype; of integers, the samples' numbers are spread first.
std::vector<Tensor> converted(const std::vector<Tensor>& inputs, DType d) {
  std::vector<Tensor> result;
  for (const Tensor& x : inputs) {
    if (!x || !is_floating(x.dtype()))
      result.push_back(x);
    else
      result.push_back(to(is_floating(d) ? x.detach() : x.detach() * (d == DType::u8 ? 1 : 4), d));
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_onnx_samples DIRECTORY\n";
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  const NoGrad quiet;
  int written = 0, refused = 0;
  std::ofstream index(dir / "index.txt");
  for (auto& op : all_ops()) {
    if (op.samples == nullptr) continue;
    manual_seed(3);
    for (auto& sample : op.samples()) {
      if (!sample.throws.empty() || sample.inputs.empty()) continue;
      for (const DType d :
           {DType::f32, DType::f64, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
        auto inputs = converted(sample.inputs, d);
        const std::string label =
            std::string(op.name) + " " + sample.note + " " + std::string(bobbin::name(d));
        const std::string name = "s" + std::to_string(written);
        Tensor y;
        try {
          y = sample.call(inputs);
        } catch (const Error&) {
          continue;  // the operation does not take this dtype
        }
        if (y.dtype() == DType::bf16) continue;  // NumPy has no such dtype
        try {
          const Tensor x = inputs[0];
          save_onnx(
              dir / (name + ".onnx"),
              [&](const Tensor& t) {
                inputs[0] = t;
                return sample.call(inputs);
              },
              x);
          save_npy(dir / (name + ".in.npy"), x);
          save_npy(dir / (name + ".out.npy"), y);
          index << name << '\t' << label << '\n';
          ++written;
        } catch (const ValueError& e) {
          ++refused;
          if (d == DType::f32) std::cout << label << ": " << e.what() << '\n';
        }
      }
    }
  }
  std::cout << written << " models written, " << refused << " refused\n";
}
