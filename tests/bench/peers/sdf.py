"""The decoder of steps/sdf.lua in PyTorch. SPDX-License-Identifier: MIT"""
import torch
import torch.nn.functional as F

from hstu import compiled


class Decoder(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        inputs, width, layers = a["code"] + 3, a["width"], a["layers"]
        self.skip = a["skip"] - 1
        outputs = [width - inputs if i + 1 == self.skip else width for i in range(layers)]
        self.layer = torch.nn.ModuleList(torch.nn.Linear(inputs if i == 0 else width, outputs[i]) for i in range(layers))
        self.out = torch.nn.Linear(width, 1)

    def forward(self, x):
        y = x
        for i, layer in enumerate(self.layer):
            if i == self.skip:
                y = torch.cat([y, x], 1)
            y = F.relu(layer(y), inplace=True)
        return torch.tanh(self.out(y))


def step(a, backend):
    torch.manual_seed(1)
    x, y = torch.randn(a["points"], a["code"] + 3) * 0.3, torch.randn(a["points"], 1) * 0.1
    if backend == "jax":
        import jaxed
        return jaxed.decoder(a, (x, y))
    model = Decoder(a)
    optim = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    run = compiled(lambda x, y: (model(x) - y).abs().mean(), backend)

    def call():
        optim.zero_grad(set_to_none=True)
        loss = run(x, y)
        loss.backward()
        optim.step()
        return loss.item()
    return call
