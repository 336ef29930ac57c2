// Writes each sample of the catalogue, in each dtype that its operation takes, as a model of its first input,
// for run_onnx_test: at the lowest and the highest opset, and with an
// open first axis. write_onnx_samples
// DIRECTORY. Prints what ONNX has no words for.
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

// Whether the samples call a public function, which refuses operands that do not fit. Others record the
// operation, which trusts its caller.
bool checks_sizes(std::string_view op) {
  return !op.ends_with("_backward") && !op.ends_with("_grad") && op != "deviation" && op != "pad";
}

class Models {
 public:
  explicit Models(const std::filesystem::path& dir) : dir_(dir), index_(dir / "index.txt") {}

  /// Writes models of f at some opsets, with the first axis open or not, and what f gives for x.
  void write(const std::string& op, DType d, std::initializer_list<int> opsets, bool open,
             const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
    std::string data;
    for (const int opset : opsets) {
      const std::string name = "s" + std::to_string(written_);
      const std::string label = op + (opset == lowest ? "" : " opset " + std::to_string(opset)) +
                                (open ? " open " : " ") + std::string(bobbin::name(d));
      try {
        if (data.empty()) {
          const Tensor more = open ? concat({x, x, x, x}) : x, y = f(more);
          if (y.dtype() == DType::bf16) return;  // NumPy has no such dtype
          save_npy(dir_ / (name + ".in.npy"), more);
          save_npy(dir_ / (name + ".out.npy"), y);
          data = name;
        }
        save_onnx(dir_ / (name + ".onnx"), f, x, {.open_axes = open ? Axes{0} : Axes{}, .opset = opset});
        index_ << name << '\t' << label << '\t' << data << '\n';
        ++written_;
      } catch (const ValueError& e) {
        ++refused_;
        if (d == DType::f32) std::cout << label << ": " << e.what() << '\n';
      } catch (const Error&) {
        if (!open) throw;  // other inputs of the operation may want as many rows as there were
      }
    }
  }
  void report() const { std::cout << written_ << " models written, " << refused_ << " refused\n"; }

  static constexpr int lowest = 17, highest = 23;

 private:
  std::filesystem::path dir_;
  std::ofstream index_;
  int written_ = 0, refused_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_onnx_samples DIRECTORY\n";
    return 2;
  }
  Models models(argv[1]);
  const NoGrad quiet;
  for (auto& op : all_ops()) {
    if (op.samples == nullptr) continue;
    manual_seed(3);
    for (auto& sample : op.samples()) {
      if (!sample.throws.empty() || sample.inputs.empty()) continue;
      for (const DType d :
           {DType::f32, DType::f64, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
        auto inputs = converted(sample.inputs, d);
        try {
          sample.call(inputs);
        } catch (const Error&) {
          continue;  // the operation does not take this dtype
        }
        const std::string label = std::string(op.name) + " " + sample.note;
        const Tensor x = inputs[0];
        const auto f = [&](const Tensor& t) {
          inputs[0] = t;
          return sample.call(inputs);
        };
        if (d == DType::f32 || d == DType::f16)
          models.write(label, d, {Models::lowest, Models::highest}, false, f, x);
        else
          models.write(label, d, {Models::lowest}, false, f, x);
        if (d == DType::f32 && x.rank() > 0 && x.size(0) > 0 && checks_sizes(op.name))
          models.write(label, d, {Models::lowest}, true, f, x);
      }
    }
  }
  models.report();
}
