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
    """The fastest of some epochs, the first of which warms up, and how much memory training took."""
    epochs = "2" if network == "cnn" else "4"
    run = subprocess.run(command + [network, optimizer, str(threads), epochs], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{command[0]} failed: {run.stderr.strip().splitlines()[-1:]}")
    *speeds, memory = map(float, run.stdout.split())
    return max(speeds), memory


print(f"Batch 128: images a second, median of {options.rounds} rounds in turns, and seconds for 60000 of them\n")
print("| network | optimizer | threads | bobbin | an epoch | pytorch | on 1 thread | ratio | memory, MB | pytorch's |")
print("|---|---|---|---|---|---|---|---|---|---|")
for network, optimizer, threads in (
    ("mlp", "sgd", options.threads),
    ("mlp", "adam", options.threads),
    ("cnn", "adam", options.threads),
    ("mlp-small", "sgd", 1),
):
    rounds = [
        (
            best([options.program], network, optimizer, threads),
            best(peer, network, optimizer, threads),
            best(peer, network, optimizer, 1),
        )
        for _ in range(options.rounds)
    ]
    speeds, memory = ([[side[i] for side in row] for row in rounds] for i in (0, 1))
    ours, theirs, single = map(statistics.median, zip(*speeds))
    ratio = statistics.median(a / max(b, c) for a, b, c in speeds)
    used = [statistics.median(side) for side in zip(*memory)]
    print(
        f"| {network} | {optimizer} | {threads} | {ours:.0f} | {60000 / ours:.2f} s | {theirs:.0f} | {single:.0f} | {ratio:.2f} "
        f"| {used[0]:.1f} | {used[1]:.1f} |",
        flush=True,
    )
