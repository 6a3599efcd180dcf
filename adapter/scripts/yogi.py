#!/usr/bin/env python3
"""Writes tests/fixtures/yogi.json: FedYogi on given sums, from the paper alone, in 64 bits.

Needs numpy. Reddi et al. 2021, Adaptive Federated Optimization (arXiv 2003.00295), algorithm 2, the line of FedYogi:

    m_t = beta1 m_{t-1} + (1 - beta1) D_t
    v_t = v_{t-1} - (1 - beta2) D_t^2 sign(v_{t-1} - D_t^2)
    x_{t+1} = x_t + eta m_t / (sqrt(v_t) + tau)

with m_{-1} = 0 and v_{-1} = tau^2 (the paper asks for at least that). D is the mean update, so minus a gradient. No bias is
corrected, there and in Zaheer et al. 2018, Adaptive Methods for Nonconvex Optimization, algorithm 2. Deterministic.
"""

import json
import random
from pathlib import Path

import numpy as np

WEIGHTS = 18  # B of one 4 x 4 layer at rank 2, and a head of 2 labels: 8 + 8 + 2
STEPS = 12
UNIT, DIVISOR = 2.0**-13 * 1.7, 256.0

CASES = [
    {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3},
    {"learning_rate": 0.003, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-5},
]


def trajectory(values, start, sums):
    eta, beta1, beta2, tau = (values[key] for key in ("learning_rate", "beta1", "beta2", "epsilon"))
    x, m, v = np.array(start), np.zeros(WEIGHTS), np.full(WEIGHTS, tau**2)
    steps = []
    for total in sums:
        delta = -np.array(total) * UNIT / DIVISOR
        m = beta1 * m + (1 - beta1) * delta
        v = v - (1 - beta2) * delta**2 * np.sign(v - delta**2)
        x = x + eta * m / (np.sqrt(v) + tau)
        steps.append(x.tolist())
    return steps


def main():
    generator = random.Random(20261128)
    # Away from zero, so that an error relative to a weight means something.
    start = [generator.choice((-1, 1)) * generator.uniform(0.5, 1.5) for _ in range(WEIGHTS)]
    start = np.array(start, np.float32).astype(float).tolist()
    # Sizes that go up and down, so that mean squares are above the next square as often as below.
    sums = [
        [round(generator.gauss(0, 1) * 10 ** generator.uniform(2, 6)) for _ in range(WEIGHTS)] for _ in range(STEPS)
    ]
    fixture = {
        "made_by": "adapter/scripts/yogi.py",
        "unit": UNIT,
        "divisor": DIVISOR,
        "start": start,
        "sums": sums,
        "cases": [
            {"optimizer": {"kind": "yogi", **values}, "weights_f64": trajectory(values, start, sums)}
            for values in CASES
        ],
    }
    path = Path(__file__).parent.parent / "tests/fixtures/yogi.json"
    path.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
