"""Element-wise work in PyTorch: the peers of bench_elem.lua and bench_embed.lua. SPDX-License-Identifier: MIT"""
import torch
import torch.nn.functional as F

from hstu import compiled


def case(a, backend, fn, grad=False):
    torch.manual_seed(1)
    x, y = torch.randn(a["rows"], a["cols"]), torch.randn(a["rows"], a["cols"])
    run = compiled(fn, backend)
    if grad:
        x.requires_grad_()
        return lambda: torch.autograd.grad(run(x, y), x, y)

    def call():
        with torch.inference_mode():
            run(x, y)
    return call


def exp(a, b): return case(a, b, lambda x, y: torch.exp(x))
def sigmoid(a, b): return case(a, b, lambda x, y: torch.sigmoid(x))
def tanh(a, b): return case(a, b, lambda x, y: torch.tanh(x))
def erf(a, b): return case(a, b, lambda x, y: torch.erf(x))
def add(a, b): return case(a, b, lambda x, y: x + y)
def gate(a, b): return case(a, b, lambda x, y: F.silu(x) * y)
def norm(a, b): return case(a, b, lambda x, y: F.layer_norm(x, (x.shape[1],)))
def norm_both(a, b): return case(a, b, lambda x, y: F.layer_norm(x, (x.shape[1],)), grad=True)
def softmax(a, b): return case(a, b, lambda x, y: F.softmax(x, 1))
def dropout(a, b): return case(a, b, lambda x, y: F.dropout(x, 0.5, True))
def sum(a, b): return case(a, b, lambda x, y: x.sum())


def adam(a, backend):
    torch.manual_seed(1)
    w = torch.nn.Parameter(torch.randn(a["rows"] * a["cols"]) * 0.01)
    w.grad = torch.randn_like(w) * 0.001
    if backend == "eager":
        return torch.optim.AdamW([w], lr=1e-3, fused=True).step
    optim = torch.optim.AdamW([w], lr=torch.tensor(1e-3), foreach=True, capturable=False)
    return compiled(optim.step, backend)


def lookup(a, backend):
    table, ids = torch.randn(a["table"], a["width"]), torch.randint(0, a["table"], (a["ids"],))
    run = compiled(lambda: F.embedding(ids, table), backend)

    def call():
        with torch.inference_mode():
            run()
    return call


def scatter(a, backend):
    table, ids, dy = torch.zeros(a["table"], a["width"]), torch.randint(0, a["table"], (a["ids"],)), torch.randn(a["ids"], a["width"])
    run = compiled(lambda: torch.ops.aten.embedding_dense_backward(dy, ids, a["table"], -1, False), backend)
    return run
