// ONNX's own test vectors, run by Bobbin: onnx_vectors FOLDER LIST. FOLDER has one folder for each vector,
// with model.onnx and test_data_set_*. LIST names the vectors that must pass. Any vector that Bobbin has
// words for must not be wrong. Without the folder, the test is skipped.
#include <bobbin/bobbin.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <set>

#include "tests/onnx/model.h"

using namespace bobbin;
namespace fs = std::filesystem;

namespace {

// ONNX's backend tests allow a relative error of 1e-3. Here it is 1e-5 for f32, but for the window functions:
// their vectors were computed with 3.1415 for pi.
double tolerance(const std::string& vector, DType d) {
  if (size_of(d) == 2) return 1e-2;
  return vector.find("window") != std::string::npos ? 1e-3 : 1e-5;
}

bool near(const Tensor& got, const Tensor& expected, double relative) {
  if (got.spec() != expected.spec()) return false;
  const auto a = to(got, DType::f64).to_vector<double>(), b = to(expected, DType::f64).to_vector<double>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;
    if (!(std::abs(a[i] - b[i]) <= 1e-6 + relative * std::abs(b[i]))) return false;
  }
  return true;
}

// Whether all data sets of a vector give the expected outputs. Throws what Bobbin throws.
bool passes(const fs::path& folder) {
  const auto model = tests::onnx::read_model(folder / "model.onnx");
  for (auto& set : fs::directory_iterator(folder)) {
    if (!set.is_directory()) continue;
    const auto tensors = [&](const std::string& kind, std::size_t count) {
      std::vector<Tensor> read;
      for (std::size_t i = 0; i < count; ++i) {
        const auto path = set.path() / (kind + "_" + std::to_string(i) + ".pb");
        if (fs::exists(path)) read.push_back(tests::onnx::read_tensor(path));
      }
      return read;
    };
    const auto got = run(model, tensors("input", model.inputs.size()));
    const auto expected = tensors("output", model.outputs.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (!near(got.at(i), expected[i], tolerance(folder.filename(), expected[i].dtype()))) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: onnx_vectors FOLDER LIST\n";
    return 2;
  }
  if (!fs::is_directory(argv[1])) {
    std::cout << "skipped: no ONNX test vectors here (Debian: libonnx-testdata)\n";
    return 0;
  }
  std::set<std::string> must;
  std::ifstream list(argv[2]);
  for (std::string name; std::getline(list, name);) must.insert(name);
  int passed = 0, wrong = 0, unexpressed = 0;
  std::set<fs::path> folders;
  for (auto& kind : fs::directory_iterator(argv[1]))
    if (kind.is_directory())
      for (auto& entry : fs::directory_iterator(kind))
        if (fs::exists(entry.path() / "model.onnx")) folders.insert(entry.path());
  for (auto& folder : folders) {
    const std::string name = folder.parent_path().filename() / folder.filename();
    std::string fault;
    try {
      if (passes(folder)) {
        ++passed;
        must.erase(name);
        if (std::getenv("ONNX_VECTORS_LIST") != nullptr) std::cout << name << "\n";
        continue;
      }
      fault = "gives other values";
    } catch (const tests::onnx::NotExpressible& e) {
      ++unexpressed;
      if (!must.contains(name)) continue;
      fault = std::string("has no words any more: ") + e.what();
    } catch (const std::exception& e) {
      fault = e.what();
    }
    must.erase(name);
    ++wrong;
    std::cout << name << ": " << fault << "\n";
  }
  for (auto& name : must) std::cout << name << ": is not there\n";
  std::cout << passed << " vectors pass, " << wrong << " do not, " << unexpressed << " are not expressible\n";
  return wrong == 0 && passed > 0 ? 0 : 1;
}
