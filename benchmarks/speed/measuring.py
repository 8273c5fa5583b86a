"""Measure time and peak memory of tasks, and describe the machine."""

import contextlib
import ctypes
import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

SHORTEST = 0.2  # seconds; shorter tasks are repeated within one measurement
DISTURBED = 0.05  # share of the CPU time of other processes from which it is reported

Task = Callable[[], object]
Clock = Callable[[], float]


@dataclass
class Timing:
    """Median and extremes of the rounds in seconds, and the share of the CPU time that other processes took."""

    median: float
    low: float
    high: float
    others: float = 0.0


def alternate(tasks: Mapping[str, Task], rounds: int, clock: Clock = time.perf_counter) -> dict[str, Timing]:
    """Time tasks in turns, A B C A B C, after a warm-up, so that other load on the machine affects all of them.

    clock: `time.perf_counter`, or `time.process_time` for CPU time, which depends little on other processes with one
        thread.
    """
    repeats = {}
    for name, task in tasks.items():
        for _ in range(2):  # the first run may take longer
            start = clock()
            _finish(task)
            taken = clock() - start
            if taken > SHORTEST:
                break
        repeats[name] = max(1, int(SHORTEST / max(taken, 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    others: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            taken, share = _time(task, repeats[name], clock)
            seconds[name].append(taken / repeats[name])
            others[name].append(share)
    return {
        name: Timing(statistics.median(times), min(times), max(times), statistics.mean(others[name]))
        for name, times in seconds.items()
    }


def _time(task: Task, repeats: int, clock: Clock) -> tuple[float, float]:
    """Seconds for all repeats, and the share of the machine's CPU time that other processes took during them."""
    gc.collect()
    busy, begin, start = _others(), time.perf_counter(), clock()
    for _ in range(repeats):
        _finish(task)
    taken = clock() - start
    return taken, max(0.0, _others() - busy) / ((time.perf_counter() - begin) * (os.cpu_count() or 1))


def _others() -> float:
    """CPU seconds that all other processes have used since the start of the machine; 0 if not known."""
    statistics_of_cpus = Path("/proc/stat")
    if not statistics_of_cpus.exists():
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, statistics_of_cpus.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def _finish(task: Task) -> None:
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peaks(tasks: Mapping[str, Task], device: str) -> dict[str, int | None]:
    """Peak memory of each task in bytes, with its result, above the memory in use before it."""
    return {name: _peak_on_gpu(task) if device == "cuda" else _peak_on_cpu(task) for name, task in tasks.items()}


def _peak_on_gpu(task: Task) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _finish(task)
    return torch.cuda.max_memory_allocated() - before


def _peak_on_cpu(task: Task) -> int | None:
    if not Path("/proc/self/clear_refs").exists():
        return None  # only Linux can reset the peak
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # memory that the allocator keeps would hide a peak
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    task()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


def matmul_rate(dtype: torch.dtype, device: str, clock: Clock) -> float:
    """Floating-point operations per second of a linear layer or 1 x 1 convolution of ViT-B, whichever is faster."""
    positions = torch.randn(4, 1024, 768, device=device, dtype=dtype)
    weight = torch.randn(3072, 768, device=device, dtype=dtype)
    feature_maps, kernel = positions[:, None].permute(0, 3, 1, 2), weight[:, :, None, None]
    tasks: dict[str, Task] = {
        "linear": lambda: torch.nn.functional.linear(positions, weight),
        "convolution": lambda: torch.nn.functional.conv2d(feature_maps, kernel),
    }
    with torch.no_grad():
        return 2 * 4096 * 768 * 3072 / min(timing.median for timing in alternate(tasks, 5, clock).values())


def machine(device: str) -> str:
    """Describe the hardware and the versions, without names of hosts or people."""
    import numpy
    import PIL
    import transformers

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    where = torch.cuda.get_device_name() if device == "cuda" else (model[1] if model else platform.machine())
    instructions = torch.backends.cpu.get_cpu_capability()
    return (
        f"{where}, {os.cpu_count()} CPU cores ({instructions}), {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"NumPy {numpy.__version__}, Pillow {PIL.__version__}"
    )
