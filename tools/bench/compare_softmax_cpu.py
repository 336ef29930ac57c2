#!/usr/bin/env python3
"""Softmax on the CPU, forward and backward: Bobbin and PyTorch in turns, the median of some rounds.

usage: compare_softmax_cpu.py PATH_OF_SOFTMAX_CPU [--threads N] [--rounds N]

Run it with a Python that has torch (Debian: apt-get install python3-torch; /usr/bin/python3). PyTorch runs forward into
an output that is there, and into a new one; GB/s count each element read or written once."""
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
torch.set_grad_enabled(False)
ours = subprocess.Popen([options.program, str(options.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def bobbin(what, rows, columns):
    print(what, rows, columns, options.seconds, file=ours.stdin, flush=True)
    return float(ours.stdout.readline())


def median_time(call):
    times = []
    while sum(times) < options.seconds or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


print(f"Softmax, f32, {options.threads} threads, PyTorch {torch.__version__}: GB/s, medians of {options.rounds} rounds in turns\n")
print("| | rows x columns | bobbin | PyTorch, output there | new output | ratio | to new |\n|---|---|---|---|---|---|---|")
for what, arrays, back in (("forward", 2, False), ("backward", 3, True)):
    for columns in (16, 128, 1000, 8192, 32768, 131072):
        rows = 2**22 // columns
        x = torch.randn(rows, columns)
        o = torch.softmax(x, -1)
        y = torch.empty_like(x)
        peers = [lambda: torch.softmax(x, -1, out=y), lambda: torch.softmax(x, -1)]
        if back:
            peers = [lambda: torch._softmax_backward_data(x, o, -1, torch.float32)] * 2
            backward = torch.ops.aten._softmax_backward_data
            if "out" in backward.overloads():
                peers[0] = lambda: backward.out(x, o, -1, torch.float32, grad_input=y)
        rounds = [(bobbin(what, rows, columns), *map(median_time, peers)) for _ in range(options.rounds)]
        speeds = [arrays * 4 * rows * columns / statistics.median(side) / 1e9 for side in zip(*rounds)]
        ratios = [statistics.median(r[i] / r[0] for r in rounds) for i in (1, 2)]
        cells = [f"{s:.1f}" for s in speeds] + [f"{r:.2f}" for r in ratios]
        print(f"| {what} | {rows} x {columns} |", " | ".join(cells), "|", flush=True)
ours.stdin.close()
