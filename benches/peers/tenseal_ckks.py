#!/usr/bin/env python3
"""A peer for benches/secure-sum: TenSEAL's CKKS with the parameters of NVIDIA FLARE.

FLARE provisions poly_modulus_degree 8192, coeff_mod_bit_sizes [60, 40, 40], scale 2^40 and
ENCRYPTION_TYPE.SYMMETRIC (nvflare/lighter/impl/he.py); its client sends
ckks_vector(context, values).serialize() (nvflare/app_opt/he/model_encryptor.py). The headline does the
same, so each step starts from bytes or values and ends in bytes or values, as ours does. The variants
leave serializing out, and encrypt under a public key. Prints one JSON object.
"""

import importlib.metadata
import json
import os
import sys

import numpy
import tenseal

from timing import CLIENTS, CLAMP, fastest

VALUES = 1 << 16
# CKKS is approximate: with integers up to 10 * 32767 at scale 2^40 the error must stay far below one half.
TOLERANCE = 1e-3

QUICK = "--quick" in sys.argv


def context(mode: tenseal.ENCRYPTION_TYPE) -> tenseal.Context:
    made = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=8192,
        coeff_mod_bit_sizes=[60, 40, 40],
        encryption_type=mode,
        n_threads=1,
    )
    made.global_scale = 2**40
    return made


def measure(mode: tenseal.ENCRYPTION_TYPE, inputs: list[numpy.ndarray]) -> tuple[dict, dict]:
    keys = context(mode)
    load = lambda data: tenseal.ckks_vector_from(keys, data)
    sent = [tenseal.ckks_vector(keys, values).serialize() for values in inputs]
    vectors = [load(data) for data in sent]

    def add_all(parts):
        parts = iter(parts)
        total = next(parts)
        for part in parts:
            total = total + part
        return total

    total = add_all(vectors)
    summed = total.serialize()
    error = numpy.abs(numpy.array(total.decrypt()) - sum(inputs)).max()
    if error > TOLERANCE:
        raise SystemExit(f"the decrypted sum differs from the sum of the inputs by {error}")

    def row(encrypt, add, opened, size) -> dict:
        return {
            "encrypt_values_per_s": VALUES / fastest(encrypt, QUICK),
            "add_values_per_s": VALUES * CLIENTS / fastest(add, QUICK),
            "open_values_per_s": VALUES / fastest(opened, QUICK),
            "bytes_per_value": size / VALUES,
            "largest_error": float(error),
        }

    wire = row(
        lambda: tenseal.ckks_vector(keys, inputs[0]).serialize(),
        lambda: add_all(load(data) for data in sent).serialize(),
        lambda: load(summed).decrypt(),
        len(sent[0]),
    )
    memory = row(
        lambda: tenseal.ckks_vector(keys, inputs[0]),
        lambda: add_all(vectors),
        total.decrypt,
        len(sent[0]),
    )
    return wire, memory


def main() -> dict:
    generator = numpy.random.default_rng(1)
    inputs = [generator.integers(-CLAMP, CLAMP + 1, VALUES).astype(numpy.float64) for _ in range(CLIENTS)]
    symmetric, symmetric_memory = measure(tenseal.ENCRYPTION_TYPE.SYMMETRIC, inputs)
    public, public_memory = measure(tenseal.ENCRYPTION_TYPE.ASYMMETRIC, inputs)
    result = {
        **symmetric,
        "version": f"tenseal {importlib.metadata.version('tenseal')}",
        "variants": {
            "not serialized": symmetric_memory,
            "public key": public,
            "public key, not serialized": public_memory,
        },
    }
    return result


if __name__ == "__main__":
    # TenSEAL writes a warning to standard output for every vector of more than one ciphertext.
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.write(output, json.dumps(main()).encode() + b"\n")
