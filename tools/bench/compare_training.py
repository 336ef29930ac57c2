#!/usr/bin/env python3
"""Bobbin and PyTorch train the same networks in turns, and the ratio of each pair is printed.

usage: compare_training.py PATH_OF_TRAIN_EPOCH [--python PYTHON] [--threads N] [--rounds N]

PYTHON is an interpreter that has torch: on Debian, apt-get install python3-torch libopenblas0-pthread (without the
second, its products go through the reference BLAS, 20 times slower), then /usr/bin/python3. PyTorch also runs on one
thread, as it may be faster there; the ratio is to the better of its two."""
import argparse
import pathlib
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program")
parser.add_argument("--python", default="/usr/bin/python3")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
peer = [options.python, str(pathlib.Path(__file__).with_name("train_epoch.py"))]


def best(command, network, optimizer, threads):
    """The fastest of two epochs, the first of which warms up."""
    run = subprocess.run(command + [network, optimizer, str(threads), "2"], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{command[0]} failed: {run.stderr.strip().splitlines()[-1:]}")
    return max(float(line) for line in run.stdout.split())


print(f"Batch 128: images a second, median of {options.rounds} rounds in turns\n")
print(f"| network | optimizer | bobbin, {options.threads} threads | pytorch, {options.threads} threads | pytorch, 1 thread | ratio |")
print("|---|---|---|---|---|---|")
for network, optimizer in (("mlp", "sgd"), ("mlp", "adam"), ("cnn", "adam")):
    rounds = [
        (
            best([options.program], network, optimizer, options.threads),
            best(peer, network, optimizer, options.threads),
            best(peer, network, optimizer, 1),
        )
        for _ in range(options.rounds)
    ]
    ours, theirs, single = (statistics.median(side) for side in zip(*rounds))
    ratio = statistics.median(a / max(b, c) for a, b, c in rounds)
    print(f"| {network} | {optimizer} | {ours:.0f} | {theirs:.0f} | {single:.0f} | {ratio:.2f} |", flush=True)
