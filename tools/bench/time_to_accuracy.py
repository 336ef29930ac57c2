#!/usr/bin/env python3
"""Trains the MNIST example from several seeds: the mean of its test accuracies, and how long training took.

usage: time_to_accuracy.py PATH_OF_MNIST [--seeds N] [OPTIONS OF MNIST]"""
import argparse
import re
import statistics
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program")
parser.add_argument("--seeds", type=int, default=5)
options, of_mnist = parser.parse_known_args()
accuracies, times = [], []
with tempfile.TemporaryDirectory() as pictures:
    for seed in range(1, options.seeds + 1):
        command = [options.program, "--seed", str(seed), "--out", pictures, *of_mnist]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            sys.exit(f"{options.program} ended with {run.returncode}")
        accuracies.append(float(re.search(r"^test accuracy (\S+)", run.stdout, re.M)[1]))
        times.append(float(re.search(r"^trained in (\S+)", run.stdout, re.M)[1]))
        print(f"seed {seed}: {accuracies[-1]:.2f} %, trained in {times[-1]:.2f} s", flush=True)
print(f"mean {statistics.mean(accuracies):.2f} %, trained in {statistics.median(times):.2f} s (median)")
