#!/usr/bin/env python3
"""Prints the state digests that tests/state.rs records: a second implementation, from the documentation alone.

Needs numpy. It makes the initial A with its own ChaCha20, applies three sums in 32-bit floats, encodes and hashes.
"""

import hashlib
import math
import struct

import numpy as np

F = np.float32
R, HIDDEN, LABELS, LAYERS, ALPHA, SEED = 2, 8, 3, 2, 6, 3
U32 = 0xFFFFFFFF


def chacha20_words(key, count):
    """The key stream as 32-bit words: 64-bit counter from 0, nonce 0."""
    words, block = [], 0
    while len(words) < count:
        start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), block & U32, block >> 32, 0, 0]
        x = list(start)
        columns = [(i, 4 + i, 8 + i, 12 + i) for i in range(4)]
        diagonals = [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
        for a, b, c, d in (columns + diagonals) * 10:
            for to, add, turned, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] = (x[to] + x[add]) & U32
                mixed = x[turned] ^ x[to]
                x[turned] = (mixed << turn | mixed >> (32 - turn)) & U32
        words += [(a + b) & U32 for a, b in zip(x, start)]
        block += 1
    return words[:count]


def initial_a(name):
    key = hashlib.sha256(b"plainchant adapter initial A v1\0" + struct.pack("<Q", SEED) + name.encode()).digest()
    half = F(2**23)
    return [(F(word >> 8) - half + F(0.5)) / half / np.sqrt(F(HIDDEN)) for word in chacha20_words(key, R * HIDDEN)]


def tensors():
    """Name -> (shape, frozen)."""
    found = {
        "base_model.model.classifier.weight": ([LABELS, HIDDEN], False),
        "base_model.model.classifier.bias": ([LABELS], False),
    }
    for layer in range(LAYERS):
        for target in ("query", "value"):
            name = f"base_model.model.bert.encoder.layer.{layer}.attention.self.{target}"
            found[f"{name}.lora_A.weight"] = ([R, HIDDEN], True)
            found[f"{name}.lora_B.weight"] = ([HIDDEN, R], False)
    return dict(sorted(found.items()))


def sgd(weight, first, second, gradient, _powers, rate, momentum):
    if momentum == 0:
        return weight - F(rate) * gradient, first, second
    first = F(momentum) * first + gradient
    return weight - F(rate) * first, first, second


def adam(weight, first, second, gradient, powers, rate, beta1, beta2, epsilon):
    first = F(beta1) * first + F(1 - beta1) * gradient
    second = F(beta2) * second + F(1 - beta2) * (gradient * gradient)
    root = np.sqrt(second) / F(np.sqrt(1 - powers[1])) + F(epsilon)
    return weight - F(rate / (1 - powers[0])) * (first / root), first, second


def adamw(weight, first, second, gradient, powers, rate, beta1, beta2, epsilon, weight_decay):
    first = F(beta1) * first + F(1 - beta1) * gradient
    second = F(beta2) * second + F(1 - beta2) * (gradient * gradient)
    root = np.sqrt(second) / F(np.sqrt(1 - powers[1])) + F(epsilon)
    kept = F(1 - rate * weight_decay) * weight
    return kept - F(rate / (1 - powers[0])) * (first / root), first, second


def yogi(weight, first, second, gradient, _powers, rate, beta1, beta2, epsilon):
    first = F(beta1) * first + F(1 - beta1) * gradient
    square = gradient * gradient
    second = second - F(1 - beta2) * square * np.sign(second - square)
    return weight - F(rate) * (first / (np.sqrt(second) + F(epsilon))), first, second


CONSTANT = (0, 0, 0, 0.0)


def fraction(schedule, step):
    """Of the learning rate. Python's cosine happens to round as libm's at the steps below."""
    warmup, decay, steps, final = schedule
    if step < warmup:
        return step / warmup
    if decay == 0:
        return 1.0
    past = (step - warmup) / max(1, steps - warmup)
    left = 1 - past if decay == 1 else 0.5 * (1 + math.cos(math.pi * past))
    return left * (1 - final) + final


def digest(kind, rule, values, decays, kept, schedule=CONSTANT, start=0.0):
    shapes = tensors()
    size = sum(int(np.prod(shape)) for shape, frozen in shapes.values() if not frozen)
    weight = (np.arange(size, dtype=F) - F(20)) / F(7)
    moments = [np.zeros(size, F), np.full(size, start, F)]
    powers = [1.0, 1.0]
    for step, factor in enumerate((1, -3, 17)):
        total = np.array([(i * i - 300) * factor for i in range(size)]).astype(F)
        powers = [powers[0] * decays[0], powers[1] * decays[1]]
        rate = values[0] * fraction(schedule, step)
        weight, *moments = rule(weight, *moments, total * F(1e-4 / 64.0), powers, rate, *values[1:])
    context = hashlib.sha256(b"plainchant adapter state context v2\0" + struct.pack("<fB", ALPHA / R, 0))
    context.update(struct.pack(f"<B{len(values)}d", kind, *values))
    context.update(struct.pack("<QBQd", *schedule))
    body, offset = b"", 0
    for name, (shape, frozen) in shapes.items():
        context.update(struct.pack("<I", len(name)) + name.encode())
        context.update(struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        count = int(np.prod(shape))
        data = initial_a(name) if frozen else weight[offset : offset + count]
        offset += 0 if frozen else count
        body += np.array(data, F).tobytes()
    header = bytes([3]) + context.digest() + struct.pack("<Q4dI", 3, *powers, 0.0, math.inf, 0)
    body += b"".join(moment.tobytes() for moment in moments[:kept])
    return hashlib.sha256(b"plainchant adapter state v1\0" + header + body).hexdigest()


def main():
    print(digest(0, sgd, (0.1, 0.0), (1, 1), 0))
    print(digest(0, sgd, (0.1, 0.9), (1, 1), 1))
    print(digest(1, adam, (0.01, 0.9, 0.999, 1e-8), (0.9, 0.999), 2))
    print(digest(2, adamw, (0.01, 0.9, 0.999, 1e-8, 0.1), (0.9, 0.999), 2))
    print(digest(3, yogi, (0.01, 0.9, 0.99, 1e-3), (1, 1), 2, start=1e-3 * 1e-3))
    print(digest(0, sgd, (0.1, 0.0), (1, 1), 0, schedule=(1, 2, 4, 0.1)))


if __name__ == "__main__":
    main()
