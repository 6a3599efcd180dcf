#!/usr/bin/env python3
"""Write src/gauss/table.rs: the tails of the discrete Gaussian with sigma 6.4.

    python3 secure-sum/scripts/gaussian_table.py > secure-sum/src/gauss/table.rs

Entry k is floor(2^95 * P(|X| > k)) for X on the integers with weight exp(-x^2 / (2 * 6.4^2)), up to
the last entry that is not zero. Rounding down makes |X| of the table stochastically smaller than |X|
of the law itself, so every tail bound for the law holds for the table. Needs mpmath.
"""

import mpmath

# Before the first number is read: 6.4 is no binary fraction.
mpmath.mp.prec = 400

BITS = 95
SIGMA = mpmath.mpf("6.4")


def main() -> None:
    weight = [mpmath.exp(-mpmath.mpf(x * x) / (2 * SIGMA**2)) for x in range(400)]
    total = weight[0] + 2 * sum(weight[1:])
    tails = []
    for k in range(400):
        tail = 2 * sum(weight[k + 1 :]) / total
        entry = int(mpmath.floor(tail * 2**BITS))
        if entry == 0:
            break
        tails.append(entry)
    exact = [weight[0] / total] + [2 * w / total for w in weight[1:]]
    bounds = [2**BITS, *tails, 0]
    ours = [mpmath.mpf(a - b) / 2**BITS for a, b in zip(bounds, bounds[1:])]
    ours += [mpmath.mpf(0)] * (len(exact) - len(ours))
    distance = sum(abs(a - b) for a, b in zip(exact, ours)) / 2
    variance = sum(p * x * x for x, p in enumerate(ours))
    print("// Written by scripts/gaussian_table.py; do not edit.")
    print()
    print("/// Entry k is floor(2^95 * P(|X| > k)) for the discrete Gaussian X with sigma 6.4.")
    print("///")
    print(f"/// Statistical distance of the table's law from it: 2^{mpmath.nstr(mpmath.log(distance, 2), 5)} a sample.")
    print(f"/// Variance of the table's law: {mpmath.nstr(variance, 12)}.")
    print(f"pub(super) const TAILS: [u128; {len(tails)}] = [")
    for entry in tails:
        digits = f"{entry:024x}"
        print("    0x" + "_".join(digits[i : i + 4] for i in range(0, 24, 4)) + ",")
    print("];")


if __name__ == "__main__":
    main()
