#!/usr/bin/env python3
"""Bobbin's softmax and cross-entropy beside PyTorch's and Triton's on this machine: one table, and what it comes to.

usage: compare_softmax.py PATH_OF_BENCH_SOFTMAX [--python PYTHON] [--out DIR] [--quick] [--dtype T] [--read]

PYTHON is an interpreter that has torch and triton. DIR gets bobbin.json, peers.json and softmax.png; with --read, the
two JSON files there are read and nothing is measured. The picture is drawn by bench_chart, beside bench_softmax."""
import argparse
import json
import math
import pathlib
import subprocess
import sys

KINDS = {"fwd": ("forward", "copy"), "bwd": ("backward", "copy21"), "xent": ("cross-entropy + gradient", "copy")}
FEW = {(8, 128256), (64, 32000), (1, 262144), (128, 1000), (1024, 1024)}


def measure(options, out):
    flags = (["--quick"] if options.quick else []) + (["--dtype", options.dtype] if options.dtype else [])
    peers = pathlib.Path(__file__).with_name("softmax_peers.py")
    for command in (
        [options.program, *flags, "--json", str(out / "bobbin.json")],
        [options.python, str(peers), *flags, "--json", str(out / "peers.json"), "--seconds", str(options.seconds)],
    ):
        code = subprocess.run(command).returncode
        if code != 0:
            sys.exit(code)


def merged(ours, peers):
    """A row a cell and kind: what Bobbin, the ceiling and each peer reach, in GB/s."""
    by_cell = {(r["dtype"], r["N"], r["D"]): r for r in peers["rows"]}
    rows = []
    for r in ours["rows"]:
        cell = (r["dtype"], r["N"], r["D"])
        theirs = by_cell.get(cell, {})
        for kind, (_, ceiling) in KINDS.items():
            methods = {k.split(", ", 1)[1]: v for k, v in theirs.items() if k.startswith(kind + ", ")}
            methods = {k: v["gbs"] for k, v in methods.items() if isinstance(v, dict)}
            best = max(methods, key=methods.get, default=None)
            row = dict(dtype=cell[0], N=cell[1], D=cell[2], kind=kind, few=cell[1:] in FEW, ours=r[kind])
            row.update(us=r[kind + "_us"], copy=r["copy"], ceiling=r[ceiling], best=best, peer=methods.get(best))
            for name in ("eager", "compile", "triton"):
                row[name] = max((v for k, v in methods.items() if k.split(",")[0] == name), default=None)
            row["walked"] = r["xent_backward"] if kind == "xent" else None
            rows.append(row)
    return rows


def ratio(a, b):
    return a / b if a and b else math.nan


def number(x, digits=2):
    return f"{x:.{digits}f}" if x and math.isfinite(x) else "-"


def table(rows):
    print("| | dtype | N | D | us | bobbin GB/s | copy ceiling | share | best peer GB/s | it is | ratio | to eager |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in sorted(rows, key=lambda r: list(KINDS).index(r["kind"])):
        cells = [r["kind"], r["dtype"], r["N"], r["D"], number(r["us"]), number(r["ours"], 0), number(r["ceiling"], 0)]
        cells += [number(ratio(r["ours"], r["ceiling"]), 3), number(r["peer"], 0), r["best"] or "-"]
        cells += [number(ratio(r["ours"], r["peer"])), number(ratio(r["ours"], r["eager"]))]
        print("|", " | ".join(map(str, cells)), "|")


def place(r):
    return f"{KINDS[r['kind']][0]} {r['dtype']} {r['N']} x {r['D']}"


def judge(what, rows, value, target):
    """Prints the worst of `value` over rows, and how many miss the target. NaN misses."""
    rows = [(value(r), r) for r in rows]
    if not rows:
        return print(f"-     {what}: not measured")
    missed = [(v, r) for v, r in rows if not v >= target(r)]
    worst, where = min(rows, key=lambda x: (not math.isnan(x[0]), x[0] - target(x[1])))
    print(f"{'MISS' if missed else 'ok':5} {what}: worst {number(worst, 3)} ({place(where)})", end="")
    print(f"; {len(missed)} of {len(rows)} miss" if missed else "")
    for v, r in sorted(missed, key=lambda x: x[0]):
        print(f"          {number(v, 3)} {place(r)}")


def summary(rows):
    softmax = [r for r in rows if r["kind"] != "xent"]
    large = [r for r in softmax if not r["few"]]
    few = [r for r in softmax if (r["N"], r["D"]) in {(8, 128256), (64, 32000)}]
    losses = [r for r in rows if r["kind"] == "xent" and not r["few"] and r["D"] >= 512]

    def to(side):
        return lambda r: ratio(r["ours"], r[side])

    def at_least(target):
        return lambda r: target

    judge("large cells, share of the copy ceiling, at least 0.97 (0.94 from D = 131072 on)",
          large, to("ceiling"), lambda r: 0.94 if r["D"] >= 131072 else 0.97)  # fmt: skip
    judge("large cells, share of the 1:1 copy, for information", large, to("copy"), at_least(0))
    judge("every cell, ratio to the fastest peer, at least 0.98", softmax, to("peer"), at_least(0.98))
    wide = [to("peer")(r) for r in large if r["D"] >= 16384]
    mean = math.exp(sum(map(math.log, wide)) / len(wide)) if wide else math.nan
    what = "geometric mean over large cells of D >= 16384, ratio to the fastest peer, at least 1.25"
    print(f"{'ok' if mean >= 1.25 else 'MISS':5} {what}: {number(mean, 3)}")
    judge("backward, ratio to PyTorch eager, at least 1.9",
          [r for r in softmax if r["kind"] == "bwd"], to("eager"), at_least(1.9))  # fmt: skip
    judge("8 x 128256 and 64 x 32000, ratio to the fastest peer, at least 1.5", few, to("peer"), at_least(1.5))
    judge("cross-entropy + gradient, D >= 512, share of the copy ceiling, at least 0.95",
          losses, to("ceiling"), at_least(0.95))  # fmt: skip
    judge("the same with backward() walked, for information",
          losses, lambda r: ratio(r["walked"], r["ceiling"]), at_least(0))  # fmt: skip
    judge("cross-entropy + gradient, ratio to the fastest peer, for information",
          [r for r in rows if r["kind"] == "xent"], to("peer"), at_least(0))  # fmt: skip


def draw(rows, program, out):
    lines = {"ours": "bobbin", "ceiling": "copy ceiling", "eager": "PyTorch eager", "compile": "torch.compile"}
    lines["triton"] = "Triton"

    def chart(kind, dtype):
        series = []
        for key, name in lines.items():
            points = sorted((r["D"], r[key]) for r in rows
                            if (r["kind"], r["dtype"], r["few"]) == (kind, dtype, False) and r[key])  # fmt: skip
            if points:
                series.append(dict(name=name, x=[math.log2(d) for d, _ in points], y=[y for _, y in points]))
        title = f"Softmax {KINDS[kind][0]}" if kind != "xent" else "Cross-entropy + gradient"
        return dict(title=f"{title}, {dtype}, 2^25 elements", x_label="log2 of D", y_label="GB/s", series=series)

    dtypes = sorted({r["dtype"] for r in rows}, reverse=True)
    charts = [[chart(kind, dtype) for dtype in dtypes] for kind in KINDS]
    (out / "charts.json").write_text(json.dumps(dict(charts=charts)))
    if not program.exists():
        return print(f"no picture: there is no {program}")
    if subprocess.run([program, out / "charts.json", out / "softmax.png"]).returncode == 0:
        print(f"charts are in {out / 'softmax.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dtype", choices=("both", "f32", "bf16", "f16"))
    parser.add_argument("--seconds", type=float, default=420, help="for torch.compile; see softmax_peers.py")
    parser.add_argument("--read", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.read:
        measure(options, options.out)
    ours, peers = (json.loads((options.out / f).read_text()) for f in ("bobbin.json", "peers.json"))
    print(f"\n{ours['device']}; PyTorch {peers['torch']}, Triton {peers['triton']} on {peers['device']}\n")
    rows = merged(ours, peers)
    table(rows)
    print()
    summary(rows)
    if ours["left_out"]:
        print(f"{ours['left_out']} cells were not measured: the time was over")
    if peers["uncompiled"]:
        print(f"{peers['uncompiled']} cells lack torch.compile: the time was over")
    draw(rows, pathlib.Path(options.program).with_name("bench_chart"), options.out)


if __name__ == "__main__":
    main()
