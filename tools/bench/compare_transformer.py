#!/usr/bin/env python3
"""The parts of a transformer and a training step of GPT-2 small: Bobbin beside PyTorch on this machine, as one table.

usage: compare_transformer.py PATH_OF_BENCH_TRANSFORMER [--python PYTHON] [--device cuda|cpu] [--only TEXT] [--threads N] [--quick]
                              [--out DIR] [--json FILE] [--read]

PYTHON is an interpreter that has torch. DIR gets transformer.json and transformer_peers.json; with --read, these are read and nothing
is measured. FILE gets the table's rows. Ratios above 1 say that Bobbin is faster, or that it needs less memory."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

TOKENS = 8 * 1024


def measure(options, ours, peers):
    flags = ["--device", options.device, "--only", options.only, "--threads", str(options.threads)]
    flags += ["--quick"] if options.quick else []
    program = pathlib.Path(__file__).with_name("transformer_peers.py")
    for command in (
        [options.program, *flags, "--json", str(ours)],
        [options.python, str(program), *flags, "--json", str(peers), "--seconds", str(options.seconds)],
    ):
        code = subprocess.run(command, stdout=sys.stderr).returncode
        if code != 0:
            sys.exit(code)


def merged(ours, peers):
    """A row each of Bobbin's: its figures, PyTorch's by name, and the fastest and the leanest of them."""
    out = []
    for r in ours["rows"]:
        others = {p["peer"]: p for p in peers["rows"] if p["name"] == r["name"]}
        fastest = min(others, key=lambda k: others[k]["us"], default=None)
        row = dict(name=r["name"], us=r["us"], mb=r["mb"], peers=others, fastest=fastest)
        if fastest:
            row["ratio"] = others[fastest]["us"] / r["us"]
            same = [k for k in others if k.endswith("deterministic")]  # as Bobbin always is
            if same:
                row["deterministic"] = min(others[k]["us"] for k in same) / r["us"]
            if others[fastest]["mb"] and r["mb"]:
                row["memory"] = others[fastest]["mb"] / r["mb"]
        out.append(row)
    return out


def number(x, digits=2):
    return "-" if x is None else f"{x:.{digits}f}"


def table(rows):
    print("| | bobbin us | PyTorch us | it is | ratio | to deterministic | bobbin MB | its MB | ratio | others us |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        best = r["peers"].get(r["fastest"], {})
        others = ", ".join(f"{k} {p['us']:.0f}" for k, p in r["peers"].items() if k != r["fastest"])
        cells = [r["name"], number(r["us"], 1), number(best.get("us"), 1), r["fastest"] or "-", number(r.get("ratio"))]
        cells += [number(r.get("deterministic")), number(r["mb"], 1), number(best.get("mb"), 1)]
        cells += [number(r.get("memory")), others or "-"]
        print("|", " | ".join(cells), "|")
    for r in rows:
        if r["name"].startswith("GPT-2"):
            rates = [("bobbin", r["us"])] + [(k, p["us"]) for k, p in r["peers"].items()]
            rates = ", ".join(f"{who} {TOKENS / us * 1e6:,.0f}" for who, us in rates)
            print(f"\n{r['name']}: tokens a second: {rates}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: each program's default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, help="by default a temporary folder")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=600, help="for torch.compile; see transformer_peers.py")
    parser.add_argument("--read", action="store_true")
    options = parser.parse_args()
    if not options.out:
        options.out = pathlib.Path(tempfile.mkdtemp(prefix="compare_transformer."))
    options.out.mkdir(parents=True, exist_ok=True)
    files = [options.out / f for f in ("transformer.json", "transformer_peers.json")]
    if not options.read:
        measure(options, *files)
    ours, peers = (json.loads(f.read_text()) for f in files)
    where = peers["device"] if options.device == "cuda" else f"{ours['threads']} threads"
    print(f"\nPyTorch {peers['torch']}; {where}\n")
    rows = merged(ours, peers)
    table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
