#!/usr/bin/env python3
"""A peer for benches/secure-sum: Paillier with PyPI phe and gmpy2, a key of 2048 bits (about 112 bits of security).

One value a ciphertext is the common use. The headline packs as many values into a ciphertext as fit with
room for the cohort's sum, which is the fairer peer. Prints one JSON object.
"""

import importlib.metadata
import json
import random
import sys

from phe import paillier
from phe.util import HAVE_GMP

from timing import CLIENTS, CLAMP, fastest

KEY_BITS = 2048
# A value is shifted to 0 .. 2 * CLAMP; a lane holds the sum of ten.
LANE_BITS = (2 * CLAMP * CLIENTS).bit_length()
LANES = (KEY_BITS - 1) // LANE_BITS

QUICK = "--quick" in sys.argv


def pack(values: list[int]) -> int:
    return sum((value + CLAMP) << (LANE_BITS * lane) for lane, value in enumerate(values))


def unpack(packed: int, count: int) -> list[int]:
    lane = (1 << LANE_BITS) - 1
    return [(packed >> (LANE_BITS * at) & lane) - CLIENTS * CLAMP for at in range(count)]


def measure(public, private, lanes: int, ciphertexts: int) -> dict:
    generator = random.Random(1)
    draw = lambda: [[generator.randint(-CLAMP, CLAMP) for _ in range(lanes)] for _ in range(ciphertexts)]
    inputs = [draw() for _ in range(CLIENTS)]
    encrypt = lambda groups: [public.raw_encrypt(pack(group)) for group in groups]
    sent = [encrypt(groups) for groups in inputs]

    def add() -> list[int]:
        totals = sent[0]
        for vector in sent[1:]:
            totals = [total * other % public.nsquare for total, other in zip(totals, vector)]
        return totals

    def opened(totals: list[int]) -> list[list[int]]:
        return [unpack(private.raw_decrypt(total), lanes) for total in totals]

    totals = add()
    expected = [[sum(column) for column in zip(*groups)] for groups in zip(*inputs)]
    if opened(totals) != expected:
        raise SystemExit("the decrypted sum is not the sum of the inputs")
    values = lanes * ciphertexts
    return {
        "encrypt_values_per_s": values / fastest(lambda: encrypt(inputs[0]), QUICK),
        "add_values_per_s": values * CLIENTS / fastest(add, QUICK),
        "open_values_per_s": values / fastest(lambda: opened(totals), QUICK),
        "bytes_per_value": 2 * KEY_BITS / 8 / lanes,
        "values_per_ciphertext": lanes,
    }


def main() -> None:
    if not HAVE_GMP:
        raise SystemExit("phe runs without gmpy2")
    public, private = paillier.generate_paillier_keypair(n_length=KEY_BITS)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("phe", "gmpy2")]
    result = {
        **measure(public, private, LANES, 8),
        "key_bits": KEY_BITS,
        "version": ", ".join(versions),
        "variants": {"one value a ciphertext": measure(public, private, 1, 8)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
