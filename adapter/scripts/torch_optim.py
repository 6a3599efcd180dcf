#!/usr/bin/env python3
"""Writes tests/fixtures/torch_optim.json: what torch.optim makes of the same sums, in 32 and in 64 bits.

Needs torch (CPU is enough). Deterministic: all inputs come from Python's seeded generator.
"""

import json
import platform
import random
from pathlib import Path

import torch

WEIGHTS = 18  # B of one 4 x 4 layer at rank 2, and a head of 2 labels: 8 + 8 + 2
STEPS = 12
UNIT, DIVISOR = 2.0**-13 * 1.7, 256.0

CASES = [
    ("sgd", {"learning_rate": 0.05, "momentum": 0.0}),
    ("sgd", {"learning_rate": 0.05, "momentum": 0.9}),
    ("adam", {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    ("adam", {"learning_rate": 0.003, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3}),
    ("adamw", {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}),
    ("adamw", {"learning_rate": 0.003, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3, "weight_decay": 5.0}),
]


def optimizer(kind, values, weights):
    if kind == "sgd":
        return torch.optim.SGD([weights], lr=values["learning_rate"], momentum=values["momentum"])
    betas = (values["beta1"], values["beta2"])
    common = {"lr": values["learning_rate"], "betas": betas, "eps": values["epsilon"]}
    if kind == "adamw":
        return torch.optim.AdamW([weights], weight_decay=values["weight_decay"], **common)
    return torch.optim.Adam([weights], **common)


def trajectory(kind, values, start, sums, dtype):
    weights = torch.tensor(start, dtype=dtype, requires_grad=True)
    steps = []
    optim = optimizer(kind, values, weights)
    for total in sums:
        weights.grad = torch.tensor([x * UNIT / DIVISOR for x in total], dtype=dtype)
        optim.step()
        steps.append(weights.detach().tolist())
    return steps


def main():
    generator = random.Random(20261124)
    # Away from zero, so that an error relative to a weight means something.
    start = [generator.choice((-1, 1)) * generator.uniform(0.5, 1.5) for _ in range(WEIGHTS)]
    start = torch.tensor(start, dtype=torch.float32).tolist()
    sums = [
        [round(generator.gauss(0, 1) * 10 ** generator.uniform(2, 6)) for _ in range(WEIGHTS)] for _ in range(STEPS)
    ]
    fixture = {
        "made_by": "adapter/scripts/torch_optim.py",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "unit": UNIT,
        "divisor": DIVISOR,
        "start": start,
        "sums": sums,
        "cases": [
            {
                "optimizer": {"kind": kind, **values},
                "weights_f32": trajectory(kind, values, start, sums, torch.float32),
                "weights_f64": trajectory(kind, values, start, sums, torch.float64),
            }
            for kind, values in CASES
        ],
    }
    path = Path(__file__).parent.parent / "tests/fixtures/torch_optim.json"
    path.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
