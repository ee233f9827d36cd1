"""HSTU and SASRec in PyTorch: whole steps, attention and loss alone.

The same model, loss and optimizer on padded batches: LN without affine part, one projection with
SiLU, pointwise SiLU attention with relative position and time bias, gate, output map; softmax loss
on unit vectors against 128 drawn items per position, one shared pool, or all items; Adam. Attention
is written as batched matrix products, the buckets of the times are made once per batch, the sampled
loss gathers its rows, as the method's own code does. Works on whole padded tensors: on a CPU that is
what PyTorch users have. SPDX-License-Identifier: MIT
"""
import json
import math
import struct

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
        bias = self.bp[index].unsqueeze(0) + self.bt[bucket]
        y = silu_attention(q, k, v, bias.unsqueeze(1), mask, self.n)
        y = F.layer_norm(y.transpose(1, 2).reshape(B, L, D), (D,), eps=1e-6)
        return x + self.out(F.dropout(u * y, self.p, self.training))


def silu_attention(q, k, v, bias, mask, n):
    return (F.silu(q @ k.transpose(2, 3) + bias) / n * mask) @ v


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
        index, mask = places(L, self.n)
        bucket = buckets(times, query)
        for block in self.block:
            x = block(x, bucket, index, mask)
        return x


def places(L, n):
    place = torch.arange(L)
    index = n - 1 + place.unsqueeze(0) - place.unsqueeze(1)
    return index, (index <= n - 1).float()


class SasrecBlock(torch.nn.Module):
    """Q = LN(x); Z = LN(Q + MHA(Q, x, x)); x = Z + FFN(Z), as trained beside HSTU by its authors."""

    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.dim, self.heads, self.p = dim, heads, dropout
        self.query, self.key, self.value, self.out, self.inner, self.outer = (torch.nn.Linear(dim, dim) for _ in range(6))

    def forward(self, x):
        B, L, D = x.shape
        q = F.layer_norm(x, (D,), eps=1e-8)
        h, k, v = (t.view(B, L, self.heads, D // self.heads).transpose(1, 2) for t in (self.query(q), self.key(x), self.value(x)))
        y = F.scaled_dot_product_attention(h, k, v, is_causal=True, dropout_p=self.p if self.training else 0)
        z = F.layer_norm(q + self.out(y.transpose(1, 2).reshape(B, L, D)), (D,), eps=1e-8)
        f = F.dropout(F.relu(self.inner(z)), self.p, self.training)
        return z + F.dropout(self.outer(f), self.p, self.training)


class Sasrec(torch.nn.Module):
    def __init__(self, items, dim, blocks, heads, n, dropout):
        super().__init__()
        self.p, self.dim, self.n = dropout, dim, n
        self.item = torch.nn.Parameter(torch.empty(items + 1, dim).normal_(0, 0.02))
        self.position = torch.nn.Parameter(torch.empty(n, dim).normal_(0, 1 / math.sqrt(dim)))
        self.block = torch.nn.ModuleList(SasrecBlock(dim, heads, dropout) for _ in range(blocks))

    def forward(self, ids, times, query):
        x = F.embedding(ids, self.item) * math.sqrt(self.dim) + self.position[:ids.shape[1]]
        x = F.dropout(x, self.p, self.training) * (ids != 0).unsqueeze(-1)
        for block in self.block:
            x = block(x)
        return x


def loss_of(model, x, targets, kind, negatives, temperature=0.05):
    rows = targets > 0
    o, pos, V = x[rows], targets[rows], model.item.shape[0]
    if kind == "bce":
        neg = torch.randint(1, V, pos.shape)
        o = F.normalize(o, eps=1e-6)
        p, n = (F.normalize(F.embedding(t, model.item), eps=1e-6) for t in (pos, neg))
        return (F.softplus(-(o * p).sum(1)) + F.softplus((o * n).sum(1))).mean()
    o = F.normalize(o, eps=1e-6)
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


def make_batch(a):
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(1, a["items"] + 1, (a["batch"], a["length"]), generator=g)
    times = torch.randint(0, 10**8, (a["batch"], a["length"] + 1), generator=g).sort(1).values
    targets = torch.randint(1, a["items"] + 1, (a["batch"], a["length"]), generator=g)
    if a.get("shortest", a["length"]) < a["length"]:
        lengths = torch.randint(a["shortest"], a["length"] + 1, (a["batch"], 1), generator=g)
        pad = torch.arange(a["length"]).unsqueeze(0) >= lengths
        ids, targets = ids.masked_fill(pad, 0), targets.masked_fill(pad, 0)
    return ids, times[:, :-1].contiguous(), times[:, 1:].contiguous(), targets


def model_of(a):
    torch.manual_seed(1)
    kind = {"hstu": Hstu, "sasrec": Sasrec}[a.get("model", "hstu")]
    return kind(a["items"], a["dim"], a["blocks"], a["heads"], a["length"] + 11, a.get("dropout", 0.2))


def compiled(f, backend):
    if backend == "eager":
        return f
    if backend == "compile":
        torch._dynamo.reset()
        return torch.compile(f, dynamic=False)
    raise NotImplementedError(backend)


def step(a, backend):
    if backend == "jax":
        import jaxed
        ids, _, _, targets = make_batch(a)
        return jaxed.sasrec(a, (ids, targets))
    model = model_of(a)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0, fused=True)
    forward = compiled(model, backend)
    loss_fn = compiled(loss_of, backend) if a["loss"] in ("full", "bce") and a.get("shortest") is None else loss_of
    batch = make_batch(a)

    def call():
        optim.zero_grad(set_to_none=True)
        loss = loss_fn(model, forward(*batch[:3]), batch[3], a["loss"], a.get("negatives", 128))
        loss.backward()
        optim.step()
        return loss.item()
    return call


def infer(a, backend):
    """The user vectors of a batch and their scores over all items."""
    model = model_of(a).eval()
    ids, times, query, _ = make_batch(a)

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, times, query):
            last = F.normalize(self.model(ids, times, query)[:, -1], eps=1e-6)
            return last @ F.normalize(model.item, eps=1e-6).t()

    scores = Scores()
    if backend == "onnx":
        import io
        import onnxruntime
        buffer = io.BytesIO()
        torch.onnx.export(scores, (ids, times, query), buffer, input_names=["ids", "times", "query"], dynamo=False,
                          opset_version=17)
        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads = torch.get_num_threads()
        o.add_session_config_entry("session.set_denormal_as_zero", "1")
        session = onnxruntime.InferenceSession(buffer.getvalue(), o, providers=["CPUExecutionProvider"])
        names = {i.name for i in session.get_inputs()}
        feed = {k: v.numpy() for k, v in dict(ids=ids, times=times, query=query).items() if k in names}
        return lambda: session.run(None, feed)
    run = compiled(scores, backend)

    def call():
        with torch.inference_mode():
            return torch.topk(run(ids, times, query), a.get("top", 10))
    return call


def attention(a, backend):
    """Forward and backward of the attention alone, biases and their gradients with it."""
    B, L, H, d = a["batch"], a["length"], a["heads"], a["dim"]
    torch.manual_seed(1)
    q, k, v = (torch.randn(B, H, L, d).mul_(0.3).requires_grad_() for _ in range(3))
    dy = torch.randn(B, H, L, d)
    n = L + 11
    bp, bt = torch.randn(2 * n - 1).requires_grad_(), torch.randn(129).requires_grad_()
    index, mask = places(L, n)
    bucket = torch.randint(0, 129, (B, L, L))
    leaves = [q, k, v] + ([bp, bt] if a["score"] == "silu" else [])

    def forward(q, k, v, bp, bt):
        if a["score"] == "silu":
            return silu_attention(q, k, v, (bp[index].unsqueeze(0) + bt[bucket]).unsqueeze(1), mask, n)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    run = compiled(forward, backend)

    def call():
        torch.autograd.grad(run(q, k, v, bp, bt), leaves, dy)
    return call


def entropy(a, backend):
    """Full cross-entropy of rows against a catalogue, forward and backward."""
    torch.manual_seed(1)
    h = torch.randn(a["rows"], a["dim"]).requires_grad_()
    w = torch.randn(a["items"], a["dim"]).mul_(0.1).requires_grad_()
    t = torch.randint(0, a["items"], (a["rows"],))
    run = compiled(lambda h, w: F.cross_entropy(h @ w.t(), t), backend)

    def call():
        torch.autograd.grad(run(h, w), (h, w))
    return call


def sampled(a, backend):
    """Softmax against drawn items, per row or shared, forward and backward."""
    torch.manual_seed(1)
    h = torch.randn(a["rows"], a["dim"]).requires_grad_()
    w = torch.randn(a["items"], a["dim"]).mul_(0.1).requires_grad_()
    t = torch.randint(0, a["items"], (a["rows"],))
    zero = torch.zeros(a["rows"], dtype=torch.long)

    def forward(h, w, neg):
        own = (h * F.embedding(t, w)).sum(1, keepdim=True)
        if a["shared"]:
            s = h @ F.embedding(neg, w).t()
        else:
            s = torch.bmm(F.embedding(neg, w), h.unsqueeze(2)).squeeze(2)
        return F.cross_entropy(torch.cat([own, s], 1), zero)

    run = compiled(forward, backend)
    shape = (a["negatives"],) if a["shared"] else (a["rows"], a["negatives"])

    def call():
        torch.autograd.grad(run(h, w, torch.randint(0, a["items"], shape)), (h, w))
    return call


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


def agree(a, backend):
    """The loss of parameters and a batch that bench_step.lua wrote to a file."""
    model = model_of(a)
    state = read_safetensors(a["path"])
    batch = [state.pop(k) for k in ("ids", "times", "query", "targets")]
    model.load_state_dict(state)
    model.eval()
    return lambda: loss_of(model, model(*batch[:3]), batch[3], "full", 0).item()
