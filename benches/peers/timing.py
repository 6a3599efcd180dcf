"""What the Python peers share: the workload and how it is timed."""

import time

CLIENTS = 10
CLAMP = 32_767


def fastest(step, quick: bool) -> float:
    """Seconds of the fastest repetition, after one that warms up: at least three and for at least 0.7 s."""
    step()
    start, best, count = time.perf_counter(), float("inf"), 0
    while time.perf_counter() - start < (0.1 if quick else 0.7) or count < 3:
        one = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - one)
        count += 1
    return best
