#!/usr/bin/env python3
"""Writes the epsilons that Google's dp-accounting gives, for tests/accountant.rs.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install dp-accounting
    /tmp/venv/bin/python scripts/dp_accounting_grid.py > tests/fixtures/dp_accounting.json
"""

import importlib.metadata
import json

import dp_accounting
from dp_accounting import rdp

RATES = [1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0]
NOISE = [0.5, 0.81, 1.0, 2.0, 4.0, 10.0]
STEPS = [1, 60, 1000, 100_000]
DELTAS = [1e-5, 1e-6, 1e-8]


def epsilon(rate, noise, steps, delta):
    event = dp_accounting.GaussianDpEvent(noise)
    if rate < 1.0:
        event = dp_accounting.PoissonSampledDpEvent(rate, event)
    accountant = rdp.RdpAccountant()
    accountant.compose(event, steps)
    return float(accountant.get_epsilon(delta))


def main():
    grid = [(rate, noise, steps, DELTAS[(i + j + k) % 3])
            for i, rate in enumerate(RATES)
            for j, noise in enumerate(NOISE)
            for k, steps in enumerate(STEPS)]
    grid.append((256 / 11945, 0.81, 60, 1e-5))
    mixed = rdp.RdpAccountant()
    mixed.compose(dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.0)), 500)
    mixed.compose(dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(2.0)), 100)
    mixed.compose(dp_accounting.GaussianDpEvent(8.0), 3)
    print(json.dumps({
        "package": "dp-accounting",
        "version": importlib.metadata.version("dp-accounting"),
        "settings": [
            {"rate": r, "noise": z, "steps": t, "delta": d, "epsilon": epsilon(r, z, t, d)} for r, z, t, d in grid
        ],
        "mixed": {"delta": 1e-5, "epsilon": float(mixed.get_epsilon(1e-5))},
    }, indent=1))


if __name__ == "__main__":
    main()
