#!/usr/bin/env python3
"""Opens the recorded rounds in tests/vectors from their shares, and checks every number in them.

Needs Python 3.9 and numpy. Shares no code with the crate: SHA-256 and SHA-512 are Python's; AES and ristretto255 are
written after FIPS 197 and RFC 9496 (primitives.py), the transform after its definition. tests/vectors/README.md has the
formats.
"""

import base64
import hashlib
import itertools
import json
import math
import pathlib
import struct
import sys

import numpy

sys.dont_write_bytecode = True
from primitives import ORDER, add, decode, hash_to_group, keystream, multiples_sum, same, self_test

LABEL = b"plainchant/secure-sum/"


# The mask, and the ring.

def expand(seed, chunk, prime, q, count):
    """The first values of a stream: low 50 bits of little-endian words, those not below q skipped."""
    digest = hashlib.sha256(LABEL + b"mask/v1" + seed + chunk.to_bytes(8, "little") + bytes([prime])).digest()
    stream = keystream(digest[:16], digest[16:], 8 * (count + 64))
    words = [int.from_bytes(stream[i : i + 8], "little") % 2**50 for i in range(0, len(stream), 8)]
    return [word for word in words if word < q][:count]


def transform(values, root, q):
    """sum_j values_j root^(j k) for every k."""
    if len(values) == 1:
        return values
    even, odd = transform(values[::2], root * root % q, q), transform(values[1::2], root * root % q, q)
    turned = odd * powers(root, len(odd), q) % q
    return numpy.concatenate([(even + turned) % q, (even - turned) % q])


def powers(root, count, q):
    result = [1]
    while len(result) < count:
        result.append(result[-1] * root % q)
    return numpy.array(result, dtype=object)


def to_coefficients(expanded, w, q):
    """Position i of `expanded` is the value at w^(2 r + 1), r being i with its bits reversed."""
    n = len(expanded)
    bits = n.bit_length() - 1
    natural = numpy.array([expanded[int(format(r, f"0{bits}b")[::-1], 2)] for r in range(n)], dtype=object)
    inverse = pow(w, -1, q)
    return transform(natural, inverse * inverse % q, q) * powers(inverse, n, q) * pow(n, -1, q) % q


def negacyclic(mask, key):
    """mask times key modulo X^N + 1, exactly; the mask in two halves so that 64 bits hold every sum."""
    n = len(mask)
    low = numpy.convolve((mask % 2**25).astype(numpy.int64), key).astype(object)
    full = low + (numpy.convolve((mask // 2**25).astype(numpy.int64), key).astype(object) << 25)
    return numpy.array([full[i] - (full[i + n] if i + n < len(full) else 0) for i in range(n)], dtype=object)


def residues(packed, layout):
    """Chunks of a body: for each prime N residues of 50 bits, the lowest bit first."""
    n, primes = layout["ring_degree"], len(layout["moduli"])
    number = int.from_bytes(packed, "little")
    assert len(packed) * 8 == 50 * n * primes * layout["chunks"], "length of a body"
    words, part = [], 50 * n
    for at in range(0, primes * layout["chunks"]):
        piece = number >> (at * part) & ((1 << part) - 1)
        q = layout["moduli"][at % primes]
        words.append(numpy.array([piece >> (50 * i) & (2**50 - 1) for i in range(n)], dtype=object))
        assert (words[-1] < q).all(), "a residue not below its prime"
    return words


# The layout.

SETS = {1: ("P50", 2048, [2**50 - 16383]), 2: ("P100", 4096, [2**50 - 16383, 2**50 - 212991])}


def tail(deviation, events):
    """What a subgaussian sum exceeds, either way, in one of so many events, with probability 2^-66."""
    return deviation * math.sqrt(2 * math.log(2) * (math.log2(events) + 1 + 66))


def bits_for(cohort, events):
    return math.ceil(math.log2(tail(6.4 * math.sqrt(cohort), events))) + 1


def derive(code, cohort, count, clamp, deviation):
    """The densest packing of a set, or None: fields above noise bits, all of it below q / 2."""
    name, n, moduli = SETS[code]
    field_bits = (cohort * clamp + math.ceil(tail(deviation, count))).bit_length() + 1
    room, half = 50 * len(moduli), (math.prod(moduli) - 1) // 2
    for fields in range(room // field_bits, 0, -1):
        chunks = -(-count // (n * fields))
        packed = sum(((1 << field_bits - 1) - 1) << field_bits * j for j in range(fields))
        for noise_bits in range(room - field_bits * fields, bits_for(cohort, chunks * n) - 1, -1):
            if (packed << noise_bits) + (1 << noise_bits - 1) <= half:
                return {"set": name, "ring_degree": n, "moduli": moduli, "field_bits": field_bits,
                        "fields_per_coefficient": fields, "noise_bits": noise_bits,
                        "digit_bits": bits_for(cohort, n), "chunks": chunks}
    return None


def check_layout(layout):
    encoded = raw(layout["bytes"])
    version, cohort, count, clamp, deviation, *widths = struct.unpack("<BIQQdBBBB", encoded)
    assert version == 1
    assert (cohort, count, clamp, deviation) == tuple(
        layout[key] for key in ("cohort_max", "count", "clamp", "noise_deviation"))
    found = [(code, derive(code, cohort, count, clamp, deviation)) for code in SETS]
    code, best = min((one for one in found if one[1]),
                     key=lambda one: one[1]["chunks"] * one[1]["ring_degree"] * len(one[1]["moduli"]))
    assert widths == [code, best["field_bits"], best["noise_bits"], best["digit_bits"]], "widths of the layout"
    assert all(layout[key] == value for key, value in best.items()), "the layout is not what follows from its arguments"


# One round.

def scalars(encoded, count):
    assert encoded[0] == 1 and len(encoded) == 1 + 32 * count, "version and length of a share sum"
    values = [int.from_bytes(encoded[i : i + 32], "little") for i in range(1, len(encoded), 32)]
    assert all(value < ORDER for value in values), "a scalar is not canonical"
    return values


def at_zero(shares):
    """Lagrange: each scalar's polynomial at 0."""
    weights = [math.prod(y * pow(y - x, -1, ORDER) for y in shares if y != x) for x in shares]
    return [sum(w * v for w, v in zip(weights, column)) % ORDER for column in zip(*shares.values())]


def digits(values, bits, count):
    """Balanced digits: half the base added to each makes them non-negative."""
    per_scalar, half = 252 // bits, 1 << (bits - 1)
    offset, found = sum(half << (bits * j) for j in range(per_scalar)), []
    for value in values:
        value = (value + offset) % ORDER
        found += [(value >> (bits * j) & (2 * half - 1)) - half for j in range(per_scalar)]
        assert value >> (bits * per_scalar) == 0, "a scalar holds no digits"
    assert not any(found[count:]), "digits behind the last coefficient"
    return numpy.array(found[:count], dtype=numpy.int64)


def centered(parts, moduli):
    """The number nearest to 0 with these residues, by Chinese remainders."""
    value, q = parts[0] % moduli[0], moduli[0]
    for part, p in zip(parts[1:], moduli[1:]):
        value, q = value + q * ((part - value) * pow(q, -1, p) % p), q * p
    return numpy.array([x - q if x > q // 2 else x for x in value], dtype=object)


def fields(coefficients, layout):
    """Signed fields above the noise, lowest first, and what the noise is."""
    noise, bits = layout["noise_bits"], layout["field_bits"]
    values, residuals = [], []
    for c in coefficients:
        packed = (c + (1 << noise - 1)) >> noise
        residuals.append(c - (packed << noise))
        for _ in range(layout["fields_per_coefficient"]):
            field = (packed + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
            values.append(field)
            packed = (packed - field) >> bits
        assert packed == 0, "a coefficient holds more than its fields"
    return values, residuals


def check_mask(file, layout):
    n, seed = layout["ring_degree"], raw(file["mask_seed"])
    for w, q in zip(layout["roots"], layout["moduli"]):
        assert pow(w, n, q) == q - 1, "w is no primitive 2N-th root of unity"
    for mask in file["mask"]:
        q, w = (layout[key][mask["prime"]] for key in ("moduli", "roots"))
        expanded = expand(seed, mask["chunk"], mask["prime"], q, n)
        coefficients = to_coefficients(expanded, w, q)
        for at, value, coefficient in zip(mask["positions"], mask["expanded"], mask["coefficients"]):
            assert (expanded[at], coefficients[at]) == (value, coefficient), "mask"


def check_bodies(file, layout, total):
    primes = len(layout["moduli"])
    bodies = [residues(raw(body), layout) for body in file["bodies"]]
    for at, q in enumerate(layout["moduli"] * layout["chunks"]):
        assert not bodies or (sum(body[at] for body in bodies) % q == total[at]).all(), "sum of the bodies"
    challenge = raw(file["checksum"]["challenge"])
    parts = (b"positions", b"chunks")
    seeds = [hashlib.sha256(LABEL + b"checksum/" + part + b"/v1" + challenge).digest() for part in parts]
    for body, expected in zip(bodies + [total], file["checksum"]["bodies"] + [file["checksum"]["sum"]]):
        values = []
        for prime, q in enumerate(layout["moduli"]):
            rows = [numpy.array(expand(seeds[0], l, prime, q, layout["ring_degree"]), dtype=object) for l in range(3)]
            sums = [0, 0, 0]
            for chunk in range(layout["chunks"]):
                weights = expand(seeds[1], chunk, prime, q, 3)
                sums = [s + u * (v * body[chunk * primes + prime]).sum() for s, u, v in zip(sums, weights, rows)]
            values += [s % q for s in sums]
        assert raw(expected) == b"\1" + b"".join(v.to_bytes(8, "little") for v in values), "checksum"


def check_answers(file, layout, answers, count):
    """Every share sum opens the sum of the commitments: generators 1, 2, ... for the scalars, 0 for the blinding."""
    numbers = list(range(1, count + 1)) + [0]
    generators = [hash_to_group(LABEL + b"generator/v1" + j.to_bytes(2, "little")) for j in numbers]
    head = b"\1" + count.to_bytes(2, "little") + bytes([file["committee"]["members"]])
    dealt = [raw(one) for one in file["commitments"]]
    assert all(one[:4] == head for one in dealt), "head of the commitments"
    for x, answer in answers.items():
        total = (0, 1, 1, 0)
        for one in dealt:
            total = add(total, decode(one[4 + 32 * (x - 1) : 4 + 32 * x]))
        assert same(total, multiples_sum(answer, generators)), f"the share sum of member {x} opens no commitment"


def open_round(file):
    assert file["format"] == "plainchant/secure-sum/round/v1"
    layout, cohort = file["layout"], len(file["commitments"])
    n, moduli = layout["ring_degree"], layout["moduli"]
    check_layout(layout)
    check_mask(file, layout)
    summed = raw(file["body_sum"])
    assert summed[0] == 1, "version of the sum"
    total = residues(summed[1:], layout)
    check_bodies(file, layout, total)

    count = -(-n // (252 // layout["digit_bits"]))
    members, threshold = file["committee"]["members"], file["committee"]["threshold"]
    assert [one["index"] for one in file["share_sums"]] == list(range(1, members + 1)), "indices of the answers"
    answers = {one["index"]: scalars(raw(one["bytes"]), count + 1) for one in file["share_sums"]}
    check_answers(file, layout, answers, count)
    quorums = [itertools.combinations(answers, size) for size in (threshold, threshold - 1)]
    secrets, short = ([at_zero({x: answers[x] for x in one}) for one in some] for some in quorums)
    assert all(secret == secrets[0] for secret in secrets), "two quorums give two keys"
    assert all(secret != secrets[0] for secret in short), "fewer than the threshold give the key"
    key = digits(secrets[0][:-1], layout["digit_bits"], n)  # the last scalar is the summed blinding
    assert (key**2).mean() <= 4 * cohort * 6.4**2 and abs(key).max() <= 72 * cohort, "the key is not small"

    values = []
    for chunk in range(layout["chunks"]):
        parts = []
        for prime, (q, w) in enumerate(zip(moduli, layout["roots"])):
            mask = to_coefficients(expand(raw(file["mask_seed"]), chunk, prime, q, n), w, q)
            parts.append((total[chunk * len(moduli) + prime] - negacyclic(mask, key)) % q)
        found, residuals = fields(centered(parts, moduli), layout)
        assert sum(r * r for r in residuals) / n <= 4 * cohort * 6.4**2, "residuals"
        values += found
    assert values[: layout["count"]] == file["sums"], "the opened sums"
    assert not any(values[layout["count"] :]), "padding"
    limit = cohort * layout["clamp"] + math.ceil(tail(layout["noise_deviation"], layout["count"]))
    assert all(abs(value) <= limit for value in values), "a sum is out of range"
    return len(secrets)


def raw(text):
    return base64.b64decode(text, validate=True)


if __name__ == "__main__":
    self_test()
    folder = pathlib.Path(__file__).parent.parent / "tests" / "vectors"
    for path in [pathlib.Path(name) for name in sys.argv[1:]] or sorted(folder.glob("*.json")):
        quorums = open_round(json.loads(path.read_text()))
        print(f"{path.name}: opened by each of {quorums} quorums, every number agrees")
