#!/usr/bin/env python3
"""HSTU in PyTorch: the peer of bench_hstu.lua.

The same model, loss and optimizer on padded batches: LN without affine part, one
projection with SiLU, pointwise SiLU attention with relative position and time bias,
gate, output map; softmax loss on unit vectors against 128 drawn items per position,
one shared pool, or all items; Adam. Attention is written as batched matrix products,
the buckets of the times are made once per batch, the sampled loss gathers its rows,
as the method's own code does. Works on whole padded tensors: on a CPU that is what
PyTorch users have.

  torch_hstu.py --loss uniform --steps 3 --threads 2     prints one line: ms per step
  --check FILE   loads parameters and a batch from a safetensors file written by
                 bench_hstu.lua, prints the loss and gradient norms, for comparison
SPDX-License-Identifier: MIT
"""
import argparse
import json
import math
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F


def buckets(times, query):
    gap = (query.unsqueeze(2) - times.unsqueeze(1)).abs().clamp(min=1)
    return (torch.log(gap.float()) / 0.301).long().clamp(0, 128)


class Block(torch.nn.Module):
    def __init__(self, dim, heads, n, dropout):
        super().__init__()
        self.dim, self.heads, self.n, self.p = dim, heads, n, dropout
        self.uvqk = torch.nn.Parameter(torch.empty(4 * dim, dim).normal_(0, 0.02))
        self.bp = torch.nn.Parameter(torch.empty(2 * n - 1).normal_(0, 0.02))
        self.bt = torch.nn.Parameter(torch.empty(129).normal_(0, 0.02))
        self.out = torch.nn.Linear(dim, dim)
        torch.nn.init.xavier_uniform_(self.out.weight)

    def forward(self, x, bucket, index, mask):
        B, L, D = x.shape
        H, d = self.heads, D // self.heads
        m = F.silu(F.layer_norm(x, (D,), eps=1e-6) @ self.uvqk.t())
        u, v, q, k = m.split(D, dim=-1)
        q, k, v = (t.view(B, L, H, d).transpose(1, 2) for t in (q, k, v))
        bias = self.bp[index].unsqueeze(0) + (self.bt[bucket] if bucket is not None else 0)
        s = q @ k.transpose(2, 3) + bias.unsqueeze(1)
        y = (F.silu(s) / self.n * mask) @ v
        y = F.layer_norm(y.transpose(1, 2).reshape(B, L, D), (D,), eps=1e-6)
        return x + self.out(F.dropout(u * y, self.p, self.training))


class Hstu(torch.nn.Module):
    def __init__(self, items, dim, blocks, heads, n, dropout):
        super().__init__()
        self.p, self.dim, self.n = dropout, dim, n
        self.item = torch.nn.Parameter(torch.empty(items + 1, dim).normal_(0, 0.02))
        self.position = torch.nn.Parameter(torch.empty(n, dim).normal_(0, math.sqrt(2 / (n + dim))))
        self.block = torch.nn.ModuleList(Block(dim, heads, n, dropout) for _ in range(blocks))

    def forward(self, ids, times, query):
        L = ids.shape[1]
        x = F.embedding(ids, self.item) * math.sqrt(self.dim) + self.position[:L]
        x = F.dropout(x, self.p, self.training) * (ids != 0).unsqueeze(-1)
        place = torch.arange(L)
        index = self.n - 1 + place.unsqueeze(0) - place.unsqueeze(1)
        mask = (index <= self.n - 1).float()
        bucket = buckets(times, query)
        for block in self.block:
            x = block(x, bucket, index, mask)
        return x


def loss_of(model, x, targets, kind, negatives, temperature=0.05):
    rows = targets > 0
    o = F.normalize(x[rows], eps=1e-6)
    pos = targets[rows]
    V = model.item.shape[0]
    if kind == "full":
        logits = o @ F.normalize(model.item[1:], eps=1e-6).t() / temperature
        return F.cross_entropy(logits, pos - 1)
    if kind == "shared":
        neg = torch.randint(1, V, (negatives,))
        s = o @ F.normalize(model.item[neg], eps=1e-6).t()
        same = neg.unsqueeze(0) == pos.unsqueeze(1)
    else:
        neg = torch.randint(1, V, (pos.shape[0], negatives))
        s = torch.bmm(F.normalize(F.embedding(neg, model.item), dim=-1, eps=1e-6), o.unsqueeze(2)).squeeze(2)
        same = neg == pos.unsqueeze(1)
    own = (o * F.normalize(F.embedding(pos, model.item), eps=1e-6)).sum(1, keepdim=True) / temperature
    logits = torch.cat([own, (s / temperature).masked_fill(same, -5e4)], 1)
    return F.cross_entropy(logits, torch.zeros(len(pos), dtype=torch.long))


def make_batch(a, generator):
    ids = torch.randint(1, a.items + 1, (a.batch, a.length), generator=generator)
    times = torch.randint(0, 10**8, (a.batch, a.length + 1), generator=generator).sort(1).values
    targets = torch.randint(1, a.items + 1, (a.batch, a.length), generator=generator)
    if a.shortest < a.length:
        lengths = torch.randint(a.shortest, a.length + 1, (a.batch, 1), generator=generator)
        pad = torch.arange(a.length).unsqueeze(0) >= lengths
        ids, targets = ids.masked_fill(pad, 0), targets.masked_fill(pad, 0)
    return ids, times[:, :-1].contiguous(), times[:, 1:].contiguous(), targets


def read_safetensors(path):
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            out[name] = torch.from_numpy(
                np.frombuffer(data[8 + size + a:8 + size + b], kinds[t["dtype"]]).reshape(t["shape"]).copy())
    return out


def check(a, model):
    state = read_safetensors(a.check)
    batch = [state.pop(k) for k in ("ids", "times", "query", "targets")]
    model.load_state_dict(state)
    model.eval()
    loss = loss_of(model, model(*batch[:3]), batch[3], "full", 0)
    loss.backward()
    print(json.dumps({"loss": loss.item(), "grads": {k: p.grad.norm().item() for k, p in model.named_parameters()}}))


def main():
    p = argparse.ArgumentParser()
    for name, default in dict(batch=128, length=200, shortest=200, items=3952, dim=50, blocks=2, heads=1, negatives=128,
                              steps=5, warm=1, threads=2, seed=1).items():
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--loss", default="uniform", choices=["uniform", "shared", "full"])
    p.add_argument("--compile", action="store_true")
    p.add_argument("--check")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(a.seed)
    model = Hstu(a.items, a.dim, a.blocks, a.heads, a.length + 11, 0.2)
    if a.check:
        return check(a, model)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0, fused=True)
    forward = torch.compile(model) if a.compile else model
    batch = make_batch(a, torch.Generator().manual_seed(a.seed))
    tokens = int((batch[3] > 0).sum())

    def step():
        optim.zero_grad(set_to_none=True)
        loss = loss_of(model, forward(*batch[:3]), batch[3], a.loss, a.negatives)
        loss.backward()
        optim.step()
        return loss.item()

    for _ in range(a.warm):
        step()
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    print(json.dumps({"ms": times[len(times) // 2], "best": times[0], "tokens": tokens}))


if __name__ == "__main__":
    sys.exit(main())
