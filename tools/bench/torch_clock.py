"""The time and the peak memory of calls of PyTorch, measured as transformer_bench.h measures Bobbin's."""
import statistics
import time

import torch


class Clock:
    def __init__(self, on_gpu, rounds):
        self.on_gpu, self.rounds = on_gpu, rounds

    def synchronize(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def median(self, call):
        """Microseconds of a call: calls follow each other without waiting, in rounds of at least 20 ms."""

        def round_of(n):
            self.synchronize()
            start = time.perf_counter()
            for _ in range(n):
                call()
            self.synchronize()
            return (time.perf_counter() - start) * 1e6 / n

        for _ in range(3):
            round_of(1)
        n = max(1, int(20e3 / round_of(1)))
        return statistics.median(round_of(n) for _ in range(self.rounds))

    def peak(self, call, whole=False):
        """The most megabytes that one call holds beside its operands, or that the process holds."""
        if not self.on_gpu:
            return None
        self.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = 0 if whole else torch.cuda.memory_allocated()
        call()
        self.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6

    def graph_of(self, call):
        """The captured graph of a call."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call()
        torch.cuda.current_stream().wait_stream(side)
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph
