"""GPT-2 small in PyTorch, the model of gpt2.h, for transformer_peers.py."""
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x):
        n, length, size = x.shape
        q, k, v = (t.view(n, length, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(size, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, length, size)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt2(nn.Module):
    """The model of gpt2.h."""

    def __init__(self, vocabulary=50257, length=1024, size=768, heads=12, blocks=12):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, size), nn.Embedding(length, size)
        self.blocks, self.norm = nn.ModuleList(Block(size, heads) for _ in range(blocks)), nn.LayerNorm(size)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, 0, 0.02)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x).flatten(0, 1), self.tokens.weight)
        return F.cross_entropy(logits, targets.flatten())
