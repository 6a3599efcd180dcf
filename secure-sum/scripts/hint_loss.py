#!/usr/bin/env python3
"""What opening costs in security: the primal attack at sigma 6.4 and at the sigma left after an opening.

    python3 secure-sum/scripts/hint_loss.py

The sum of keys and errors is a hint on each honest one (Hint-LWE); with two honest clients half the variance is
left. This is a plain estimate of the primal uSVP attack (geometric series assumption, cost
2^(0.292 beta + 16.4) * 8 d), used for the *difference* only: the figures of one contribution that params.rs names are
the lattice estimator's.
"""

from math import e, log2, pi, sqrt

SETS = {"P50": (2048, 50), "P100": (4096, 100)}
SIGMA = 6.4


def root_hermite(beta: int) -> float:
    return ((pi * beta) ** (1 / beta) * beta / (2 * pi * e)) ** (1 / (2 * (beta - 1)))


def succeeds(beta: int, d: int, m: int, bits: int, sigma: float) -> bool:
    left = log2(sigma * sqrt(beta))
    return left <= (2 * beta - d - 1) * log2(root_hermite(beta)) + m * bits / d


def cost_log2(n: int, bits: int, sigma: float) -> float:
    best = float("inf")
    for m in range(n // 2, n + 1, 16):
        d = n + m + 1
        low, high = 60, d
        while low < high:
            beta = (low + high) // 2
            if succeeds(beta, d, m, bits, sigma):
                high = beta
            else:
                low = beta + 1
        best = min(best, 0.292 * low + 16.4 + log2(8 * d))
    return best


for name, (n, bits) in SETS.items():
    fresh, opened = cost_log2(n, bits, SIGMA), cost_log2(n, bits, SIGMA / sqrt(2))
    print(f"{name}: fresh {fresh:.1f}, opened {opened:.1f}, loss {fresh - opened:.1f} bits")
