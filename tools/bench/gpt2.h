// GPT-2 small, the 124 million parameter model whose training step is measured, here and with PyTorch
// (transformer_peers.py).
#pragma once
#include <bobbin/bobbin.h>

#include <string>
#include <vector>

namespace bench {

/// The sizes of a GPT-2; by default those of GPT-2 small.
struct Gpt2Sizes {
  std::int64_t vocabulary = 50257, length = 1024, size = 768, heads = 12, blocks = 12;
};

/// A decoder of transformer blocks whose head reads the embeddings of the tokens (Radford et al., Language
/// models are unsupervised multitask learners, 2019).
struct Gpt2 {
  explicit Gpt2(const Gpt2Sizes& s) : tokens(s.vocabulary, s.size), places(s.length, s.size), norm({s.size}) {
    for (std::int64_t i = 0; i < s.blocks; ++i) blocks.emplace_back(s.size, s.heads);
    for (auto* table : {&tokens, &places}) bobbin::nn::init::normal_(table->weight, 0, .02);
  }
  /// The mean cross-entropy of the next tokens: ids and targets are i64 [n, length].
  bobbin::Tensor operator()(const bobbin::Tensor& ids, const bobbin::Tensor& targets) const {
    using namespace bobbin;
    Tensor x = tokens(ids) + slice(places.weight, 0, 0, ids.size(1));
    for (const auto& block : blocks) x = block(x, true);
    const Tensor rows = reshape(norm(x), {-1, x.size(-1)});
    return linear_cross_entropy(rows, tokens.weight, reshape(targets, {-1}));
  }
  void each(bobbin::nn::Visit& v) {
    v("tokens", tokens), v("places", places);
    for (std::size_t i = 0; i < blocks.size(); ++i) v("blocks." + std::to_string(i), blocks[i]);
    v("norm", norm);
  }
  bobbin::nn::Embedding tokens, places;
  std::vector<bobbin::nn::TransformerBlock> blocks;
  bobbin::nn::LayerNorm norm;
};

}  // namespace bench
