// Data sets of tensors and of text, transforms, subsets and splits.
#include <bobbin/data.h>
#include <bobbin/elementwise.h>
#include <bobbin/index.h>
#include <bobbin/random.h>
#include <bobbin/tape.h>
#include <bobbin/view.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace bobbin {
namespace {

class Transformed final : public Dataset {
 public:
  Transformed(DatasetPtr from, std::function<Batch(Batch)> change)
      : from_(std::move(from)), change_(std::move(change)) {}
  std::int64_t size() const override { return from_->size(); }
  Batch batch(const Tensor& indices) const override { return change_(from_->batch(indices)); }

 private:
  DatasetPtr from_;
  std::function<Batch(Batch)> change_;
};

class Subset final : public Dataset {
 public:
  Subset(DatasetPtr from, Tensor indices) : from_(std::move(from)), indices_(std::move(indices)) {}
  std::int64_t size() const override { return indices_.numel(); }
  Batch batch(const Tensor& indices) const override {
    return from_->batch(index_select(indices_, 0, indices));
  }

 private:
  DatasetPtr from_;
  Tensor indices_;
};

}  // namespace

TensorDataset::TensorDataset(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {
  if (tensors_.empty()) fail<ShapeError>("TensorDataset: expected at least one tensor");
  for (auto& t : tensors_)
    if (t.rank() == 0 || t.size(0) != tensors_.front().size(0))
      fail<ShapeError>("TensorDataset: tensors must have as many rows; got ", tensors_.front().spec(),
                       " and ", t.spec());
}

Batch TensorDataset::batch(const Tensor& indices) const {
  const NoGrad quiet;
  Batch out;
  for (auto& t : tensors_) out.push_back(index_select(t, 0, to(indices, t.device())));
  return out;
}

TextDataset::TextDataset(std::string_view text, std::int64_t length) : length_(length) {
  if (length < 1 || static_cast<std::int64_t>(text.size()) <= length)
    fail<ValueError>("TextDataset: expected more than ", length, " bytes of text; got ", text.size());
  text_ = empty({static_cast<std::int64_t>(text.size())}, DType::u8);
  std::copy(text.begin(), text.end(), text_.mutable_data<std::uint8_t>().begin());
}

Batch TextDataset::batch(const Tensor& indices) const {
  const NoGrad quiet;
  const Tensor at = unsqueeze(indices, 1) + unsqueeze(arange(length_ + 1), 0);
  const Tensor windows = to(reshape(index_select(text_, 0, reshape(at, {-1})), at.shape()), DType::i64);
  return {contiguous(slice(windows, 1, 0, length_)), contiguous(slice(windows, 1, 1, length_ + 1))};
}

DatasetPtr transformed(DatasetPtr from, std::function<Batch(Batch)> change) {
  return std::make_shared<Transformed>(std::move(from), std::move(change));
}

DatasetPtr subset(DatasetPtr from, Tensor indices) {
  return std::make_shared<Subset>(std::move(from), std::move(indices));
}

std::pair<DatasetPtr, DatasetPtr> random_split(DatasetPtr from, double share, std::uint64_t seed) {
  if (!(share >= 0 && share <= 1)) fail<ValueError>("random_split: expected a share of 0 to 1; got ", share);
  const GeneratorScope draws({seed, 0});
  const Tensor order = randperm(from->size());
  const auto first = static_cast<std::int64_t>(std::llround(share * static_cast<double>(from->size())));
  const Tensor rest = contiguous(slice(order, 0, first, from->size()));
  return {subset(from, contiguous(slice(order, 0, 0, first))), subset(std::move(from), rest)};
}

}  // namespace bobbin
