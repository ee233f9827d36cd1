"""Training steps in JAX, jitted whole with their Adam. SPDX-License-Identifier: MIT"""
import jax
import jax.numpy as jnp


def linear(key, i, o):
    return {"w": jax.random.uniform(key, (i, o), minval=-i**-0.5, maxval=i**-0.5), "b": jnp.zeros(o)}


def apply(l, x):
    return x @ l["w"] + l["b"]


def norm(x, eps):
    m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - m) * jax.lax.rsqrt(v + eps)


def trainer(p, loss_of, batch, lr, betas):
    """The call that trains p by Adam on loss_of(p, key, *batch); key: for what is drawn, another each step."""
    a, b = betas

    @jax.jit
    def update(p, m, v, t, *batch):
        key = jax.random.fold_in(jax.random.PRNGKey(1), t.astype(int))
        l, g = jax.value_and_grad(loss_of)(p, key, *batch)
        m = jax.tree.map(lambda m, g: a * m + (1 - a) * g, m, g)
        v = jax.tree.map(lambda v, g: b * v + (1 - b) * g * g, v, g)
        r = lr * jnp.sqrt(1 - b**t) / (1 - a**t)
        return l, jax.tree.map(lambda p, m, v: p - r * m / (jnp.sqrt(v) + 1e-8), p, m, v), m, v

    state = [p, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), 0.0]
    batch = [jnp.asarray(t.numpy()) for t in batch]

    def call():
        state[3] += 1.0
        l, *state[:3] = update(*state[:3], jnp.float32(state[3]), *batch)
        return float(l)
    return call


def transformer(a, batch):
    """The model of transformer.py."""
    D, H, key = a["dim"], a["heads"], jax.random.PRNGKey(1)

    def scale():
        return {"w": jnp.ones(D), "b": jnp.zeros(D)}

    p = {"token": jax.random.normal(key, (a["tokens"] + 1, D)) * 0.02, "place": jax.random.normal(key, (a["length"], D)) * 0.02,
         "last": linear(key, D, a["tokens"]), "norm": scale(),
         "block": [{"norm1": scale(), "norm2": scale(), "qkv": linear(key, D, 3 * D), "out": linear(key, D, D),
                    "inner": linear(key, D, 4 * D), "outer": linear(key, 4 * D, D)} for _ in range(a["blocks"])]}

    def normed(n, x):
        return norm(x, 1e-5) * n["w"] + n["b"]

    def loss_of(p, key, ids, at, targets):
        x = p["token"][ids] + p["place"]
        B, T, _ = x.shape
        for b in p["block"]:
            q, k, v = apply(b["qkv"], normed(b["norm1"], x)).reshape(B, T, 3, H, D // H).transpose(2, 0, 3, 1, 4)
            s = jax.nn.softmax(q @ k.swapaxes(2, 3) * (D // H) ** -0.5)
            x = x + apply(b["out"], (s @ v).transpose(0, 2, 1, 3).reshape(B, T, D))
            x = x + apply(b["outer"], jax.nn.gelu(apply(b["inner"], normed(b["norm2"], x)), approximate=False))
        logits = apply(p["last"], normed(p["norm"], x).reshape(-1, D)[at])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1).mean()

    return trainer(p, loss_of, batch, 1e-3, (0.9, 0.98))


def decoder(a, batch):
    """The model of sdf.py."""
    inputs, width, layers = a["code"] + 3, a["width"], a["layers"]
    skip, keys = a["skip"] - 1, jax.random.split(jax.random.PRNGKey(1), layers + 1)
    outputs = [width - inputs if i + 1 == skip else width for i in range(layers)]
    p = [linear(keys[i], inputs if i == 0 else width, outputs[i]) for i in range(layers)] + [linear(keys[layers], width, 1)]

    def loss_of(p, key, x, target):
        y = x
        for i in range(layers):
            y = jax.nn.relu(apply(p[i], jnp.concatenate([y, x], 1) if i == skip else y))
        return jnp.abs(jnp.tanh(apply(p[layers], y)) - target).mean()

    return trainer(p, loss_of, batch, 5e-4, (0.9, 0.999))


def clicks(a, batch):
    """The model of ctr.py; JAX has no gradients by rows: Adam goes over the whole table."""
    D, keys = a["dim"], jax.random.split(jax.random.PRNGKey(1), 8)

    def network(keys, *sizes):
        return [linear(k, i, o) for k, i, o in zip(keys, sizes, sizes[1:])]

    def run(layers, x):
        for l in layers[:-1]:
            x = jax.nn.relu(apply(l, x))
        return apply(layers[-1], x)

    p = {"table": jax.random.normal(keys[0], (a["rows"], D)), "weigh": network(keys[1:4], 4 * D, 80, 40, 1),
         "out": network(keys[4:7], 3 * D, 200, 80, 1)}

    def loss_of(p, key, past, item, user, click):
        k, q, u = p["table"][past], p["table"][item], p["table"][user]
        wide = jnp.broadcast_to(q[:, None], k.shape)
        w = run(p["weigh"], jnp.concatenate([wide, k, wide - k, wide * k], 2))
        z = run(p["out"], jnp.concatenate([(w * k).sum(1), q, u], 1))[:, 0]
        return (jnp.maximum(z, 0) - z * click + jnp.log1p(jnp.exp(-jnp.abs(z)))).mean()

    return trainer(p, loss_of, batch, 1e-3, (0.9, 0.999))


def sasrec(a, batch):
    """SASRec of hstu.py with the loss over all items, or against one drawn item."""
    D, H, V, drop = a["dim"], a["heads"], a["items"], a.get("dropout", 0.2)
    keys = jax.random.split(jax.random.PRNGKey(1), 2 + 6 * a["blocks"])
    names = ("query", "key", "value", "out", "inner", "outer")
    p = {"item": jax.random.normal(keys[0], (V + 1, D)) * 0.02,
         "position": jax.random.normal(keys[1], (a["length"] + 11, D)) * D**-0.5,
         "block": [{n: linear(keys[2 + 6 * b + i], D, D) for i, n in enumerate(names)} for b in range(a["blocks"])]}

    def dropped(key, x):
        return jnp.where(jax.random.bernoulli(key, 1 - drop, x.shape), x / (1 - drop), 0)

    def unit(x):
        return x / jnp.maximum(jnp.sqrt((x * x).sum(-1, keepdims=True)), 1e-6)

    def loss_of(p, key, ids, targets):
        B, L = ids.shape
        keys = iter(jax.random.split(key, 2 + 3 * a["blocks"]))
        x = dropped(next(keys), p["item"][ids] * D**0.5 + p["position"][:L])
        causal = jnp.tril(jnp.ones((L, L), bool))
        for b in p["block"]:
            q = norm(x, 1e-8)
            h, k, v = (t.reshape(B, L, H, D // H).swapaxes(1, 2) for t in (apply(b["query"], q), apply(b["key"], x), apply(b["value"], x)))
            s = jax.nn.softmax(jnp.where(causal, h @ k.swapaxes(2, 3) * (D // H) ** -0.5, -jnp.inf))
            z = norm(q + apply(b["out"], (dropped(next(keys), s) @ v).swapaxes(1, 2).reshape(B, L, D)), 1e-8)
            x = z + dropped(next(keys), apply(b["outer"], dropped(next(keys), jax.nn.relu(apply(b["inner"], z)))))
        o, pos = unit(x.reshape(-1, D)), targets.reshape(-1)
        if a["loss"] == "full":
            logits = o @ unit(p["item"][1:]).T / 0.05
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), pos[:, None] - 1, 1).mean()
        neg = jax.random.randint(next(keys), pos.shape, 1, V + 1)
        own, other = ((o * unit(p["item"][t])).sum(1) for t in (pos, neg))
        return (jax.nn.softplus(-own) + jax.nn.softplus(other)).mean()

    return trainer(p, loss_of, batch, 1e-3, (0.9, 0.98))
