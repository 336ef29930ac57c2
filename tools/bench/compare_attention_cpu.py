#!/usr/bin/env python3
"""Attention on the CPU, forward and with its derivative: Bobbin and PyTorch in turns, the median of some rounds.

usage: compare_attention_cpu.py PATH_OF_ATTENTION_CPU [--threads N] [--rounds N]

Run it with a Python that has torch (Debian: apt-get install python3-torch; /usr/bin/python3). PyTorch before 2.0 has no
attention of its own; there it is composed of products and softmax."""
import argparse
import statistics
import subprocess
import time

import torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=0.1, help="of a measurement")
options = parser.parse_args()
torch.set_num_threads(options.threads)
ours = subprocess.Popen([options.program, str(options.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def bobbin(what, shape):
    print(what, *shape, options.seconds, file=ours.stdin, flush=True)
    return float(ours.stdout.readline())


def composed(query, key, value, is_causal):
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if is_causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    return torch.softmax(logits, -1) @ value


attend = getattr(torch.nn.functional, "scaled_dot_product_attention", composed)


def pytorch(what, shape):
    batch, heads, queries, keys, size, causal = shape
    both = what == "both"
    query, key, value = (torch.randn(batch, heads, n, size, requires_grad=both) for n in (queries, keys, keys))
    g = torch.randn(batch, heads, queries, size)
    times = []
    while sum(times) < options.seconds or len(times) < 3:
        start = time.perf_counter()
        y = attend(query, key, value, is_causal=bool(causal))
        if both:
            torch.autograd.grad(y, (query, key, value), g)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


print(f"Attention, f32, {options.threads} threads, PyTorch {torch.__version__}: us, medians of {options.rounds} rounds in turns\n")
print("| | batch x heads x queries x keys x size | bobbin | PyTorch | share of its time |\n|---|---|---|---|---|")
for what in ("forward", "both"):
    for shape in (
        (1, 8, 512, 512, 64, 0),
        (1, 8, 512, 512, 64, 1),
        (16, 4, 96, 96, 32, 1),
        (4, 4, 64, 64, 32, 1),
        (1, 8, 1, 1024, 64, 0),
        (1, 8, 16, 1024, 64, 0),
        (2, 12, 1024, 1024, 64, 1),
        (1, 2, 2048, 2048, 128, 1),
        (1, 1, 4096, 4096, 64, 0),
    ):
        rounds = [(bobbin(what, shape), pytorch(what, shape)) for _ in range(options.rounds)]
        times = [statistics.median(side) * 1e6 for side in zip(*rounds)]
        ratio = statistics.median(b / p for b, p in rounds)
        name = " x ".join(map(str, shape[:5])) + (", causal" if shape[5] else "")
        print(f"| {what} | {name} | {times[0]:.0f} | {times[1]:.0f} | {ratio:.2f} |", flush=True)
ours.stdin.close()
