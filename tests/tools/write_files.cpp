// Writes a layer in every format, for open_files_test. Its weight is [[0, 1, 2], [3, 4, 5]] / 8, its bias is
// [-1, 1].
#include <bobbin/bobbin.h>

#include <iostream>

using namespace bobbin;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: write_files DIRECTORY\n";
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  const Tensor weight = reshape(arange(0, 6, 1, DType::f32) / 8, {2, 3}), bias = tensor({-1, 1});
  const StateDict state{{"layer.weight", weight},
                        {"layer.bias", bias},
                        {"steps", tensor({7}, DType::i64)},
                        {"half", to(bias, DType::f16)}};
  auto wide = state;
  wide["narrow"] = to(bias, DType::bf16);
  save_safetensors(dir / "layer.safetensors", {wide, {{"epoch", "3"}}});
  save_npz(dir / "layer.npz", state);
  save_npy(dir / "weight.npy", weight);
  // What another program has written there comes back.
  if (const auto other = dir / "theirs.npz"; std::filesystem::exists(other)) {
    const auto theirs = load_npz(other);
    std::cout << theirs.at("a") << ' ' << theirs.at("b") << '\n';
  }
  if (const auto other = dir / "theirs.safetensors"; std::filesystem::exists(other))
    std::cout << load_safetensors(other).tensors.at("a") << '\n';
}
