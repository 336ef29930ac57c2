#!/usr/bin/env python3
"""What an operation on one element costs, recorded and walked back: Bobbin beside libtorch, in turns, on one thread.

usage: compare_op_cost.py PATH_OF_OP_COST [--rounds N]

The peer is op_cost_torch beside it, which is built where libtorch is found (Debian: apt-get install libtorch-dev)."""
import argparse
import pathlib
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
peer = options.program.with_name("op_cost_torch")
if not peer.exists():
    sys.exit(f"compare_op_cost: there is no {peer}; install libtorch's headers and build again")


def costs(program):
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: float(ns) for name, ns in map(str.split, lines)}


rounds = [(costs(options.program), costs(peer)) for _ in range(options.rounds)]
print(f"One element, forward recorded and backward, 1 thread: ns, medians of {options.rounds} rounds in turns\n")
print("| operation | bobbin | libtorch | share of libtorch's time |")
print("|---|---|---|---|")
for name in rounds[0][0]:
    ours, theirs = (statistics.median(side[name] for side in sides) for sides in zip(*rounds))
    ratio = statistics.median(a[name] / b[name] for a, b in rounds)
    print(f"| {name} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |")
