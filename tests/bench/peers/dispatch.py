"""Small ops from Python: the peers of bench_dispatch.lua. Each call runs the op args["calls"] times. SPDX-License-Identifier: MIT"""
import torch


def loop(a, fn, grad=False):
    torch.set_num_threads(1)
    x, y, n = torch.ones(4, 4, requires_grad=grad), torch.ones(4, 4), a["calls"]

    def call():
        for _ in range(n):
            fn(x, y)
    return call


def add(a, backend): return loop(a, lambda x, y: x + y)
def sum(a, backend): return loop(a, lambda x, y: x.sum(0))
def add_in_place(a, backend): return loop(a, lambda x, y: x.add_(y))
def add_recorded(a, backend): return loop(a, lambda x, y: x + y, grad=True)
def select(a, backend): return loop(a, lambda x, y: x[0])
