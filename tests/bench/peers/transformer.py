"""The masked-token transformer of steps/transformer.lua in PyTorch; jaxed.py has it in JAX. SPDX-License-Identifier: MIT"""
import torch
import torch.nn.functional as F

from hstu import compiled


class Block(torch.nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(dim)
        self.qkv, self.out = torch.nn.Linear(dim, 3 * dim), torch.nn.Linear(dim, dim)
        self.inner, self.outer = torch.nn.Linear(dim, 4 * dim), torch.nn.Linear(4 * dim, dim)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.outer(F.gelu(self.inner(self.norm2(x))))


class Model(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        D = a["dim"]
        self.token, self.place = torch.nn.Embedding(a["tokens"] + 1, D), torch.nn.Parameter(torch.randn(a["length"], D) * 0.02)
        self.block = torch.nn.Sequential(*(Block(D, a["heads"]) for _ in range(a["blocks"])))
        self.norm, self.last = torch.nn.LayerNorm(D), torch.nn.Linear(D, a["tokens"])

    def forward(self, ids, at):
        x = self.norm(self.block(self.token(ids) + self.place))
        return self.last(x.reshape(-1, x.shape[-1])[at])


def batch_of(a):
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(1, a["tokens"] + 1, (a["batch"], a["length"]), generator=g)
    at = (torch.arange(a["batch"]).unsqueeze(1) * a["length"] + torch.arange(a["masked"]) * 5).flatten()
    targets = ids.flatten()[at] - 1
    ids.flatten()[at] = 0
    return ids, at, targets


def step(a, backend):
    if backend == "jax":
        import jaxed
        return jaxed.transformer(a, batch_of(a))
    torch.manual_seed(1)
    model = Model(a)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0, fused=True)
    run = compiled(lambda ids, at, t: F.cross_entropy(model(ids, at), t), backend)
    batch = batch_of(a)

    def call():
        optim.zero_grad(set_to_none=True)
        loss = run(*batch)
        loss.backward()
        optim.step()
        return loss.item()
    return call
