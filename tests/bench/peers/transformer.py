"""The masked-token transformer of steps/transformer.lua in PyTorch and JAX. SPDX-License-Identifier: MIT"""
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
        return jax_step(a)
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


def jax_step(a):
    import jax
    import jax.numpy as jnp
    D, H, key = a["dim"], a["heads"], jax.random.PRNGKey(1)

    def linear(i, o):
        return {"w": jax.random.uniform(key, (i, o), minval=-i**-0.5, maxval=i**-0.5), "b": jnp.zeros(o)}

    p = {"token": jax.random.normal(key, (a["tokens"] + 1, D)) * 0.02, "place": jax.random.normal(key, (a["length"], D)) * 0.02,
         "last": linear(D, a["tokens"]), "norm": {"w": jnp.ones(D), "b": jnp.zeros(D)},
         "block": [{"norm1": {"w": jnp.ones(D), "b": jnp.zeros(D)}, "norm2": {"w": jnp.ones(D), "b": jnp.zeros(D)},
                    "qkv": linear(D, 3 * D), "out": linear(D, D), "inner": linear(D, 4 * D), "outer": linear(4 * D, D)}
                   for _ in range(a["blocks"])]}

    def norm(n, x):
        m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - m) * jax.lax.rsqrt(v + 1e-5) * n["w"] + n["b"]

    def map_(l, x):
        return x @ l["w"] + l["b"]

    def loss_of(p, ids, at, targets):
        x = p["token"][ids] + p["place"]
        B, T, _ = x.shape
        for b in p["block"]:
            q, k, v = map_(b["qkv"], norm(b["norm1"], x)).reshape(B, T, 3, H, D // H).transpose(2, 0, 3, 1, 4)
            s = jax.nn.softmax(q @ k.swapaxes(2, 3) * (D // H) ** -0.5)
            x = x + map_(b["out"], (s @ v).transpose(0, 2, 1, 3).reshape(B, T, D))
            x = x + map_(b["outer"], jax.nn.gelu(map_(b["inner"], norm(b["norm2"], x)), approximate=False))
        logits = map_(p["last"], norm(p["norm"], x).reshape(-1, D)[at])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1).mean()

    @jax.jit
    def update(p, m, v, t, ids, at, targets):
        l, g = jax.value_and_grad(loss_of)(p, ids, at, targets)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, v, g)
        r = jnp.sqrt(1 - 0.98**t) / (1 - 0.9**t)
        return l, jax.tree.map(lambda p, m, v: p - 1e-3 * r * m / (jnp.sqrt(v) + 1e-8), p, m, v), m, v

    state = [p, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), 0.0]
    batch = [jnp.asarray(t.numpy()) for t in batch_of(a)]

    def call():
        state[3] += 1.0
        l, *state[:3] = update(*state, *batch)
        return float(l)
    return call
