#!/usr/bin/env python3
"""Writes tests/fixtures/schedules.json: the share of the learning rate that transformers' schedules take at each step.

Needs torch and transformers (CPU is enough). The rate is read before each step of the optimizer, which is what that step takes.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import optimization

# warm-up, steps, final fraction
SIZES = [(0, 10, 0.0), (3, 10, 0.0), (1, 7, 0.0), (3, 10, 0.1), (0, 60, 0.0), (10, 60, 0.25), (5, 5, 0.0)]


def schedule(decay, optimizer, warmup, steps, final):
    if decay == "constant":
        return optimization.get_constant_schedule_with_warmup(optimizer, warmup)
    if decay == "linear":
        if final == 0.0:
            return optimization.get_linear_schedule_with_warmup(optimizer, warmup, steps)
        return optimization.get_polynomial_decay_schedule_with_warmup(optimizer, warmup, steps, lr_end=final, power=1.0)
    if final == 0.0:
        return optimization.get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    return optimization.get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, steps, min_lr_rate=final)


def fractions(decay, warmup, steps, final):
    # The rate is 1, so that it is the fraction.
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(decay, optimizer, warmup, steps, final)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def main():
    fixture = {
        "made_by": "adapter/scripts/schedules.py",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "cases": [
            {
                "decay": decay,
                "warmup": warmup,
                "steps": steps,
                "final_fraction": final,
                "fractions": fractions(decay, warmup, steps, final),
            }
            for decay in ("constant", "linear", "cosine")
            for warmup, steps, final in SIZES
            if decay != "constant" or final == 0.0
        ],
    }
    path = Path(__file__).parent.parent / "tests/fixtures/schedules.json"
    path.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
