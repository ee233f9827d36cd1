"""The residual nets of steps/vision.lua and single convolutions in PyTorch, channels_last. SPDX-License-Identifier: MIT"""
import torch
import torch.nn.functional as F

from hstu import compiled

LAST = torch.channels_last


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = torch.nn.BatchNorm2d(outputs), torch.nn.BatchNorm2d(outputs)
        self.short = None
        if stride != 1 or inputs != outputs:
            self.short = torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False), torch.nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        y += x if self.short is None else self.short(x)
        return F.relu(y, inplace=True)


class Net(torch.nn.Module):
    def __init__(self, widths, blocks):
        super().__init__()
        inputs = widths[0]
        self.stem, self.norm = torch.nn.Conv2d(3, inputs, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(inputs)
        layers = []
        for stage, width in enumerate(widths):
            for b in range(blocks):
                layers.append(Block(inputs, width, 2 if b == 0 and stage > 0 else 1))
                inputs = width
        self.block, self.out = torch.nn.Sequential(*layers), torch.nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.block(F.relu(self.norm(self.stem(x)), inplace=True))
        return self.out(x.mean((2, 3)))


def step(a, backend):
    torch.manual_seed(1)
    model = Net(a["widths"], a["blocks"]).to(memory_format=LAST)
    x = torch.randn(a["batch"], 3, a["size"], a["size"]).contiguous(memory_format=LAST)
    y = torch.randint(0, 10, (a["batch"],))
    optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True)
    run = compiled(model, backend)

    def call():
        optim.zero_grad(set_to_none=True)
        loss = F.cross_entropy(run(x), y)
        loss.backward()
        optim.step()
        return loss.item()
    return call


def conv(a, backend):
    """One convolution: part "forward", "back" (gradient of the image) or "weight"."""
    torch.manual_seed(1)
    C, O, k, stride, size = a["inputs"], a["outputs"], a["kernel"], a["stride"], a["size"]
    sizes, padding = (a["batch"], C, size, size), k // 2
    x = torch.randn(sizes).contiguous(memory_format=LAST)
    w = torch.randn(O, C, k, k).contiguous(memory_format=LAST)
    out = (size + 2 * padding - k) // stride + 1
    g = torch.randn(a["batch"], O, out, out).contiguous(memory_format=LAST)
    which = {"forward": None, "back": [True, False, False], "weight": [False, True, False]}[a["part"]]

    def call():
        with torch.inference_mode():
            if which is None:
                return F.conv2d(x, w, None, stride, padding)
            return torch.ops.aten.convolution_backward(g, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, which)
    return compiled(call, backend)
