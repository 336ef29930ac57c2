// Files: a round trip gives the same tensors, a file that does not match the model changes nothing, and
// resumed training gives the same bits.
#include <bobbin/bobbin.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/temporary_directory.h"

using namespace bobbin;
namespace fs = std::filesystem;
using testing::HasSubstr;

namespace {

using Saving = tests::TemporaryDirectory;

// A model with a dropout, so that the generator's state matters.
struct Model {
  nn::Linear a{5, 8}, b{8, 3};
  Tensor operator()(const Tensor& x) const { return b(dropout(a(x, Activation::relu), .3)); }
  StateDict state() const {
    return {{"a.weight", a.weight}, {"a.bias", a.bias}, {"b.weight", b.weight}, {"b.bias", b.bias}};
  }
  std::vector<Tensor> parameters() const { return {a.weight, a.bias, b.weight, b.bias}; }
};

void train(Model& m, optim::Optimizer& o, int from, int to) {
  for (int i = from; i < to; ++i) {
    const Tensor x = randn({4, 5}), t = tensor({0, 1, 2, 1}, DType::i64);
    o.zero_grad();
    backward(cross_entropy(m(x), t));
    o.step();
  }
}

TEST_F(Saving, AResumedTrainingEndsWithTheSameBits) {
  manual_seed(5);
  Model whole;
  optim::AdamW optimizer(whole.parameters(), {.lr = .02});
  train(whole, optimizer, 0, 6);
  save_checkpoint(path, whole.state(), optimizer, {{"epoch", "6"}});
  train(whole, optimizer, 6, 10);

  manual_seed(99);
  Model again;
  optim::AdamW other(again.parameters());
  EXPECT_EQ(load_checkpoint(path, again.state(), other).at("epoch"), "6");
  EXPECT_EQ(other.lr, .02);
  train(again, other, 6, 10);
  for (auto& [name, t] : whole.state())
    EXPECT_EQ(t.to_vector<float>(), again.state().at(name).to_vector<float>()) << name;
}

TEST_F(Saving, ACheckpointThatDoesNotFitChangesNothing) {
  manual_seed(5);
  Model m;
  optim::AdamW adam(m.parameters());
  optim::Sgd sgd(m.parameters(), {.momentum = .9});
  save_checkpoint(path, m.state(), sgd);
  const auto before = m.a.weight.to_vector<float>();
  const Generator generator = default_generator();
  {
    const NoGrad quiet;
    m.a.weight.fill_(7);
  }
  try {
    load_checkpoint(path, m.state(), adam);
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), HasSubstr("'optimizer.exp_avg.0' is missing"));
    EXPECT_THAT(e.what(), HasSubstr("'optimizer.momentum_buffer.3' is unknown"));
  }
  EXPECT_EQ(m.a.weight.to_vector<float>(), std::vector<float>(before.size(), 7));
  EXPECT_EQ(default_generator().draws, generator.draws);
  auto smaller = m.state();
  smaller["a.bias"] = zeros({3});
  smaller.erase("b.bias");
  try {
    load_state("model", m.state(), smaller);
    ADD_FAILURE();
  } catch (const FormatError& e) {
    EXPECT_STREQ(e.what(),
                 "model: the state does not fit: 'a.bias' is f32[3], not f32[8]; 'b.bias' is missing");
  }
}

TEST_F(Saving, MappedTensorsAreTheFilesAndEditsStayHere) {
  save_safetensors(path, {{{"w", arange(0, 6, 1, DType::f32)}, {"z", zeros({0, 2})}}, {{"k", "v"}}});
  TensorFile file = map_safetensors(path);
  EXPECT_EQ(file.metadata.at("k"), "v");
  Tensor w = file.tensors.at("w");
  EXPECT_EQ(file.tensors.at("z").shape(), (Shape{0, 2}));
  file = {};
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  w.fill_(9);
  EXPECT_EQ(sum(w).item(), 54);
  EXPECT_EQ(sum(load_safetensors(path).tensors.at("w")).item(), 15);
  // A tensor of f32 behind three bytes.
  const std::string header =
      R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"f":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}} )";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  bytes += header + std::string("\1\2\3\0\0\x80\x3f", 7);
  EXPECT_EQ(map_safetensors(written(bytes)).tensors.at("f").item(), 1);
  EXPECT_THROW(map_safetensors(written("short")), FormatError);
  EXPECT_THROW(map_safetensors(dir / "none"), IoError);
}

TEST_F(Saving, NpyAndNpzComeBack) {
  manual_seed(1);
  StateDict all{
      {"f32", randn({3, 4})}, {"f64", randn({2}, DType::f64)},  {"f16", to(randn({5}), DType::f16)},
      {"i64", arange(-2, 3)}, {"u8", to(arange(7), DType::u8)}, {"bool", tensor({1, 0, 1}, DType::boolean)},
      {"scalar", tensor(3)},  {"empty", zeros({0, 3})},         {"strided", transpose(randn({3, 2}))}};
  save_npz(path, all);
  const StateDict back = load_npz(path);
  ASSERT_EQ(back.size(), all.size());
  for (auto& [name, t] : all) {
    EXPECT_EQ(back.at(name).spec(), t.spec()) << name;
    EXPECT_EQ(back.at(name).to_vector<double>(), t.to_vector<double>()) << name;
    save_npy(dir / "one.npy", t);
    EXPECT_EQ(load_npy(dir / "one.npy").to_vector<double>(), t.to_vector<double>()) << name;
  }
  EXPECT_THROW(save_npy(path, to(ones({2}), DType::bf16)), DTypeError);
}

TEST_F(Saving, NpyRefusesWhatItDoesNotUnderstand) {
  const auto file = [&](const std::string& header, const std::string& body) {
    std::string bytes("\x93NUMPY\x01\x00", 8);
    bytes += static_cast<char>(header.size());
    bytes += '\0';
    return written(bytes + header + body);
  };
  EXPECT_EQ(
      load_npy(file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }\n", std::string(8, '\0')))
          .shape(),
      (Shape{2, 1}));
  for (const char* header :
       {"{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "nonsense",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999,), }"})
    EXPECT_THROW(load_npy(file(header, std::string(8, '\0'))), Error) << header;
  EXPECT_THROW(load_npy(written("")), FormatError);
  EXPECT_THROW(load_npz(written("no archive")), FormatError);
  EXPECT_THROW(load_npz(dir / "none"), IoError);
}

}  // namespace
