"""AES-128 in counter mode (numpy, all blocks of a stream at once) and the group ristretto255, for check_vectors.py."""

import hashlib

import numpy


# AES-128 (FIPS 197) in counter mode (SP 800-38A).

def doubled(x):
    return ((x << 1) ^ (0x1B * (x >> 7))) & 0xFF


def sbox():
    power, log = [1] * 255, {1: 0}
    for i in range(1, 255):  # 3 generates the field's units
        power[i] = power[i - 1] ^ doubled(power[i - 1])
        log[power[i]] = i
    box = []
    for x in range(256):
        y = power[-log[x] % 255] if x else 0
        for i in range(1, 5):
            x = (y << i | y >> 8 - i) & 255 ^ (x if i > 1 else y)
        box.append(x ^ 0x63)
    return numpy.array(box, dtype=numpy.uint16)


SBOX = sbox()
SHIFT = [(i + 4 * (i % 4)) % 16 for i in range(16)]


def round_keys(key):
    words, constant = [list(key[i : i + 4]) for i in range(0, 16, 4)], 1
    for i in range(4, 44):
        word = words[-1]
        if i % 4 == 0:
            word = [int(SBOX[b]) for b in word[1:] + word[:1]]
            word[0] ^= constant
            constant = doubled(constant)
        words.append([a ^ b for a, b in zip(word, words[i - 4])])
    return numpy.array(words, dtype=numpy.uint16).reshape(11, 16)


def aes(key, blocks):
    keys = round_keys(key)
    state = blocks ^ keys[0]
    for i in range(1, 11):
        state = SBOX[state][:, SHIFT]
        if i < 10:
            columns = state.reshape(-1, 4, 4)
            rolled = numpy.roll(columns, -1, axis=2)
            total = columns[:, :, :1] ^ columns[:, :, 1:2] ^ columns[:, :, 2:3] ^ columns[:, :, 3:]
            state = (columns ^ total ^ doubled(columns ^ rolled)).reshape(-1, 16)
        state = state ^ keys[i]
    return state


def keystream(key, counter, length):
    first, count = int.from_bytes(counter, "big"), -(-length // 16)
    counters = b"".join(((first + i) % 2**128).to_bytes(16, "big") for i in range(count))
    blocks = numpy.frombuffer(counters, dtype=numpy.uint8).reshape(-1, 16).astype(numpy.uint16)
    return aes(key, blocks).astype(numpy.uint8).tobytes()[:length]


# ristretto255 (RFC 9496), in extended coordinates (x, y, z, t) of edwards25519.

ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT_MINUS_1 = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235


def inverse_root(u, v):
    """Whether u / v is a square, and the non-negative root of it or of sqrt(-1) times it."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * ROOT_MINUS_1 % P):
        r = r * ROOT_MINUS_1 % P
    return check in (u % P, -u % P), min(r, P - r, key=lambda x: x & 1)


def add(one, two):
    (x, y, z, t), (u, v, w, s) = one, two
    a, b, c, d = (y - x) * (v - u) % P, (y + x) * (v + u) % P, 2 * D * t * s % P, 2 * z * w % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def decode(encoded):
    s = int.from_bytes(encoded, "little")
    assert s < P and s % 2 == 0, "a point is not canonical"
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, root = inverse_root(1, v * u2 * u2 % P)
    x = 2 * s * root * u2 % P
    x, y = (P - x if x % 2 else x), root * u2 * root * v * u1 % P
    assert square and y and x * y % P % 2 == 0, "a point is not canonical"
    return x, y, 1, x * y % P


def hash_to_group(data):
    wide = hashlib.sha512(data).digest()
    return add(mapped(wide[:32]), mapped(wide[32:]))


def mapped(half):
    r = ROOT_MINUS_1 * (int.from_bytes(half, "little") % 2**255) ** 2 % P
    u, c = (r + 1) * (1 - D * D) % P, -1
    v = (-1 - r * D) * (r + D) % P
    square, s = inverse_root(u, v)
    if not square:
        s = s * (int.from_bytes(half, "little") % 2**255) % P
        s, c = (P - s if s % 2 == 0 else s), r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def multiples_sum(scalars, points):
    total = (0, 1, 1, 0)
    for bit in reversed(range(253)):
        total = add(total, total)
        for scalar, point in zip(scalars, points):
            if scalar >> bit & 1:
                total = add(total, point)
    return total


def same(one, two):
    (x, y, *_), (u, v, *_) = one, two
    return x * v % P == y * u % P or y * v % P == x * u % P


def self_test():
    block = numpy.frombuffer(bytes.fromhex("00112233445566778899aabbccddeeff"), dtype=numpy.uint8).reshape(1, 16)
    known = aes(bytes(range(16)), block.astype(numpy.uint16)).astype(numpy.uint8).tobytes()
    assert known.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a", "AES is not that of FIPS 197, appendix C.1"
