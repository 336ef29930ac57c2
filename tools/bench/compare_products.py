#!/usr/bin/env python3
"""Matrix products of an MLP's step on the CPU: Bobbin and PyTorch (its BLAS) in turns, the median of some rounds.

usage: compare_products.py PATH_OF_PRODUCTS [--rounds N]

Run it with a Python that has torch (Debian: apt-get install python3-torch libopenblas0-pthread; /usr/bin/python3)."""
import argparse
import ctypes
import statistics
import subprocess
import time

import torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=0.1, help="of a measurement")
options = parser.parse_args()
torch.set_grad_enabled(False)
blas = ctypes.CDLL("libopenblas.so.0")  # has threads of its own, whatever PyTorch is told
ours = subprocess.Popen([options.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
PRODUCTS = {
    "784 to 256": (128, 256, 784, "nt"),
    "256 to 128": (128, 128, 256, "nt"),
    "128 to 10": (128, 10, 128, "nt"),
    "gradient of 784 x 256": (256, 784, 128, "tn"),
    "gradient of 256 x 128": (128, 256, 128, "tn"),
    "gradient of 256": (128, 256, 128, "nn"),
    "1024 cubed": (1024, 1024, 1024, "nn"),
}


def bobbin(threads, sizes):
    print(threads, *sizes, options.seconds, file=ours.stdin, flush=True)
    return float(ours.stdout.readline())


def peer(threads, rows, columns, terms, layout):
    torch.set_num_threads(threads)
    blas.openblas_set_num_threads(threads)
    a = torch.randn(terms, rows).t() if layout == "tn" else torch.randn(rows, terms)
    b = torch.randn(columns, terms).t() if layout == "nt" else torch.randn(terms, columns)
    times = []
    while sum(times) < options.seconds or len(times) < 3:
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


print(f"Products, f32, PyTorch {torch.__version__}: GFLOP/s, medians of {options.rounds} rounds in turns\n")
print("| | threads | bobbin | PyTorch | ratio |\n|---|---|---|---|---|")
for name, sizes in PRODUCTS.items():
    for threads in (1, 2):
        rounds = [(bobbin(threads, sizes), peer(threads, *sizes)) for _ in range(options.rounds)]
        work = 2 * sizes[0] * sizes[1] * sizes[2] / 1e9
        speeds = [work / statistics.median(side) for side in zip(*rounds)]
        ratio = statistics.median(r[1] / r[0] for r in rounds)
        print(f"| {name} | {threads} | {speeds[0]:.1f} | {speeds[1]:.1f} | {ratio:.2f} |", flush=True)
ours.stdin.close()
