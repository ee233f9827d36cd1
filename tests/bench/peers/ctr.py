"""The click model of steps/ctr.lua in PyTorch: sparse gradients and SparseAdam for the table. SPDX-License-Identifier: MIT"""
import torch
import torch.nn.functional as F

from hstu import compiled


def network(*sizes):
    layers = []
    for i, o in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def step(a, backend):
    torch.manual_seed(1)
    B, L, D = a["batch"], a["past"], a["dim"]
    past, item, user = (torch.randint(0, a["rows"], s) for s in ((B, L), (B,), (B,)))
    click = torch.rand(B).gt(0.5).float()
    if backend == "jax":
        import jaxed
        return jaxed.clicks(a, (past, item, user, click))
    table = torch.nn.Embedding(a["rows"], D, sparse=True)
    weigh, out = network(4 * D, 80, 40, 1), network(3 * D, 200, 80, 1)
    sparse = torch.optim.SparseAdam(table.parameters(), lr=1e-3)
    dense = torch.optim.Adam([*weigh.parameters(), *out.parameters()], lr=1e-3, fused=True)

    def forward(k, q, u):
        wide = q.unsqueeze(1).expand(B, L, D)
        w = weigh(torch.cat([wide, k, wide - k, wide * k], 2))
        pooled = torch.bmm(w.transpose(1, 2), k).squeeze(1)
        return F.binary_cross_entropy_with_logits(out(torch.cat([pooled, q, u], 1)).squeeze(1), click)

    run = compiled(forward, backend)

    def call():
        sparse.zero_grad(set_to_none=True)
        dense.zero_grad(set_to_none=True)
        loss = run(table(past), table(item), table(user))
        loss.backward()
        sparse.step()
        dense.step()
        return loss.item()
    return call
