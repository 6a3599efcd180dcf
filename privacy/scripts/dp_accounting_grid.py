#!/usr/bin/env python3
"""Writes the epsilons that Google's dp-accounting gives, for tests/accountant.rs.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install dp-accounting
    /tmp/venv/bin/python scripts/dp_accounting_grid.py > tests/fixtures/dp_accounting.json

Three numbers a setting. By Renyi divergences, both with dp-accounting's orders and conversion:
  epsilon     RdpAccountant as released. At fractional orders it adds the absolute values of an alternating series, or
              leaves out an order whose series has not converged: an upper bound, up to tens of percent above the truth.
  integrated  the divergence at fractional orders by numerical integration of its definition.
By privacy-loss distributions, one number:
  pld         its pessimistic estimate, with a discretization interval of a fortieth of a step's loss deviation and at most its
              default of 1e-4, unless memory forbids. (The default alone gives several times the truth at small rates, where
              a step's deviation is far below it.) Steps without sampling are one Gaussian of noise / sqrt(steps).
"""

import importlib.metadata
import json
import sys

import dp_accounting
import numpy as np
from dp_accounting import rdp
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.rdp import rdp_privacy_accountant as formulas

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


def divergence(rate, noise, order):
    """Renyi divergence of one round, by the trapezoidal rule at fractional orders."""
    if rate == 1.0 or float(order).is_integer():
        return float(formulas._compute_rdp_poisson_subsampled_gaussian(rate, noise, [order])[0])
    x = np.arange(-20 * noise, order + 20 * noise, noise / 400)
    scale = np.log(noise / 400) - np.log(noise * np.sqrt(2 * np.pi))
    log_without = scale - x**2 / (2 * noise**2)
    log_ratio = np.logaddexp(np.log1p(-rate), np.log(rate) + (2 * x - 1) / (2 * noise**2))
    log_terms = log_without + order * log_ratio
    top = log_terms.max()
    if top > 50:
        return float((top + np.log(np.exp(log_terms - top).sum())) / (order - 1))
    # The moment minus 1 and minus the first-order term, whose mean is 0: nothing is lost where it is near 1.
    without, with_unit = np.exp(log_without), np.exp(scale - (x - 1) ** 2 / (2 * noise**2))
    excess = np.exp(log_terms) - without - order * rate * (with_unit - without)
    return float(np.log1p(excess.sum()) / (order - 1))


def integrated(rate, noise, steps, delta):
    orders = formulas.DEFAULT_RDP_ORDERS
    divergences = [steps * divergence(rate, noise, order) for order in orders]
    return float(formulas.compute_epsilon(orders, divergences, delta)[0])


def pld(rate, noise, steps, delta):
    """dp-accounting's estimate of epsilon by privacy-loss distributions."""
    if rate == 1.0:
        noise, steps = noise / np.sqrt(steps), 1
    x = np.linspace(-9 * noise, 1 + 9 * noise, 20_001)
    density = (1 - rate) * np.exp(-x**2 / (2 * noise**2)) + rate * np.exp(-(x - 1) ** 2 / (2 * noise**2))
    exponent = (2 * x - 1) / (2 * noise**2)
    loss = exponent if rate == 1.0 else np.logaddexp(np.log1p(-rate), np.log(rate) + exponent)
    density /= density.sum()
    mean = (density * loss).sum()
    deviation = np.sqrt((density * (loss - mean) ** 2).sum())
    reach = steps * abs(mean) + 20 * deviation * np.sqrt(steps) + loss[-1]
    interval = max(min(1e-4, deviation / 40), reach / 1e7)
    one = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=interval)
    return float(one.self_compose(steps).get_epsilon_for_delta(delta))


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
    settings = []
    for r, z, t, d in grid:
        settings.append({"rate": r, "noise": z, "steps": t, "delta": d, "epsilon": epsilon(r, z, t, d),
                         "integrated": integrated(r, z, t, d), "pld": pld(r, z, t, d)})
        print(settings[-1], file=sys.stderr)
    print(json.dumps({
        "package": "dp-accounting",
        "version": importlib.metadata.version("dp-accounting"),
        "settings": settings,
        "mixed": {"delta": 1e-5, "epsilon": float(mixed.get_epsilon(1e-5))},
    }, indent=1))


if __name__ == "__main__":
    main()
