#!/usr/bin/env python3
"""Looks for secrets in the memory of a process before and after they are dropped.

    heap_search.py [--gcore]

Runs target/release/examples/heap (which `cargo test --release` builds) in both parameter sets. While the key lives,
and in the middle of an encryption, the search must find it: that shows that it can. After everything was dropped it must
find nothing, neither in the heap nor on a stack. Memory is read from /proc/PID/mem; with --gcore from gdb's core dump.
Exits with 1 when a secret is left, with 3 when this system does not let a process read its child's memory.
"""

import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "target"))
PROGRAM = TARGET / "release/examples/heap"

# Of secure-sum/src/params.rs: ring degree and primes of a set, by its code in a layout's bytes.
SETS = {1: (2048, [2**50 - 16_383]), 2: (4096, [2**50 - 16_383, 2**50 - 212_991])}
# The order of the scalars (RFC 9496, section 4).
ORDER = 2**252 + 27742317777372353535851937790883648493

# What must be found while the key lives, and in the middle of its encryption.
CONTROLS = {
    "alive": ["key as i32", "share scalars", "sealing key"],
    "encrypting": ["key as i32", "transformed key"],
}


def scalars(data):
    return [int.from_bytes(data[at : at + 32], "little") for at in range(0, len(data), 32)]


def words(data):
    """The 64-bit words of secret bytes, those that could be there by chance left out."""
    found = (int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8))
    return {word for word in found if word >> 40 and word + 1 >> 60 << 60 != word + 1}


def packed_key(shares):
    """The constants of the polynomials through shares 1, 2, 3 at 1, 2, 3: 3 f(1) - 3 f(2) + f(3)."""
    return [(3 * a - 3 * b + c) % ORDER for a, b, c in zip(*shares[:3])]


def coefficients(packed, degree, bits):
    """The balanced digits of the packed scalars."""
    key, half = [], 1 << bits - 1
    for scalar in packed:
        rest = scalar - ORDER if scalar > ORDER // 2 else scalar
        for _ in range(252 // bits):
            digit = (rest + half) % (2 * half) - half
            key.append(digit)
            rest = (rest - digit) >> bits
    return key[:degree]


def transform(key, q):
    """Values at all odd powers of a 2N-th root, in some order: which root and which order does not matter here."""
    n = len(key)
    root = next(w for w in (pow(g, (q - 1) // (2 * n), q) for g in range(2, 100)) if pow(w, n, q) == q - 1)

    def cyclic(values, w):
        if len(values) == 1:
            return values
        even, odd = cyclic(values[::2], w * w % q), cyclic(values[1::2], w * w % q)
        power, low, high = 1, [], []
        for a, b in zip(even, odd):
            low.append((a + power * b) % q)
            high.append((a - power * b) % q)
            power = power * w % q
        return low + high

    return cyclic([c * pow(root, i, q) % q for i, c in enumerate(key)], root * root % q)


def aes_schedule(key):
    """Round keys of AES-256 (FIPS 197, section 5.2)."""
    sbox, p, q = [0x63] * 256, 1, 1
    while True:
        p = p ^ (p << 1 & 0xFF) ^ (0x1B if p & 0x80 else 0)
        q ^= q << 1 & 0xFF
        q ^= q << 2 & 0xFF
        q ^= q << 4 & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rotated = [q << n & 0xFF | q >> 8 - n for n in range(5)]
        sbox[p] = rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3] ^ rotated[4] ^ 0x63
        if p == 1:
            break
    w, constant = [key[at : at + 4] for at in range(0, 32, 4)], 1
    for i in range(8, 60):
        last = w[-1]
        if i % 8 == 0:
            last = bytes(sbox[b] for b in last[1:] + last[:1])
            last, constant = bytes([last[0] ^ constant]) + last[1:], constant << 1
        elif i % 8 == 4:
            last = bytes(sbox[b] for b in last)
        w.append(bytes(a ^ b for a, b in zip(w[i - 8], last)))
    return b"".join(w)


class Needles:
    """What is searched for: 64-bit words at any byte, and runs of bytes, each under a name."""

    def __init__(self, folder):
        read = lambda name: (folder / name).read_bytes() if (folder / name).exists() else b""
        layout = read("layout")
        degree, primes = SETS[layout[29]]
        shares = [scalars(read(f"share-{i}")) for i in range(1, 5)]
        packed = packed_key(shares)[:-1]
        key = coefficients(packed, degree, layout[32])
        assert sum(c * c for c in key) < 60 * degree, "the shares hold no key"
        self.words, self.runs = {}, {}
        for width in (1, 2, 4, 8):
            self.add_runs(f"key as i{8 * width}", key, width)
        for q in primes:
            self.add_runs(f"key modulo {q}", [c % q for c in key], 8)
            self.add("transformed key", b"".join(v.to_bytes(8, "little") for v in transform(key, q)))
        to_bytes = lambda values: b"".join(value.to_bytes(32, "little") for value in values)
        self.add("packed key", to_bytes(packed))
        offset = sum(1 << layout[32] * j + layout[32] - 1 for j in range(252 // layout[32]))
        self.add("packed key with offset", to_bytes((scalar + offset) % ORDER for scalar in packed))
        # The last scalar holds few digits, so its upper words are those of public constants.
        for constant in (ORDER, offset):
            for word in words(constant.to_bytes(32, "little")):
                self.words.pop(word, None)
        self.add("share scalars", b"".join(read(f"share-{i}") for i in range(1, 5)))
        random = read("polynomials")
        self.add("polynomials as drawn", random)
        drawn = [int.from_bytes(random[at : at + 64], "little") % ORDER for at in range(0, len(random), 64)]
        self.add("polynomials", to_bytes(drawn))
        everything = packed + drawn + [scalar for share in shares for scalar in share]
        limbs = (scalar >> 52 * i & (1 << 52) - 1 for scalar in everything for i in range(4))
        self.add("scalars in limbs", b"".join(limb.to_bytes(8, "little") for limb in limbs))
        self.add("sealing key", read("sealing-key"))
        self.add("what the sealing key came from", read("ikm"))
        self.add("what the ephemeral key came from", read("ephemeral"))
        self.add("what the complaint's nonce came from", read("nonce"))
        # The logarithm of the public key's point: the clamped key modulo the order, or its negative.
        clamped = bytearray(read("sealing-key"))
        clamped[0], clamped[31] = clamped[0] & 248, clamped[31] & 127 | 64
        logarithm = int.from_bytes(clamped, "little") % ORDER
        self.add("sealing key's logarithm", to_bytes([logarithm, ORDER - logarithm]))
        for name in ("seed-key", "seed-error"):
            if seed := read(name):
                self.add(f"{name}", seed)
                self.add(f"{name}, AES round keys", aes_schedule(seed)[32:])

    def add(self, name, data):
        self.words.update(dict.fromkeys(words(data), name))

    def add_runs(self, name, values, width):
        modulus = 1 << 8 * width
        data = b"".join((value % modulus).to_bytes(width, "little") for value in values)
        # Runs of 16 bytes or 8 values, every 32 values.
        size = max(16, 8 * width)
        self.runs[name] = [data[at : at + size] for at in range(0, len(data) - size, 32 * width)]

    def search(self, memory):
        """Counts by name and place."""
        found = {}

        def note(name, place, count):
            if count:
                found[name, place] = found.get((name, place), 0) + count

        for place, data in memory:
            for shift in range(8):
                view = memoryview(data)[shift : shift + (len(data) - shift) // 8 * 8].cast("Q")
                for word in self.words.keys() & set(view):
                    note(self.words[word], place, 1)
            for name, runs in self.runs.items():
                note(name, place, sum(run in data for run in runs))
        return found


def memory_of(pid, gcore):
    """Place and content of what the process wrote, without pages of zeros."""
    if gcore:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["gcore", "-o", f"{folder}/core", str(pid)], check=True, capture_output=True)
            data = next(Path(folder).iterdir()).read_bytes()
        # Segments of the ELF file: notes (type 4) hold the registers, the others memory.
        table, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
        for at in range(table, table + size * count, size):
            kind, offset, length = struct.unpack_from("<I4xQ16xQ", data, at)
            yield from pieces("registers" if kind == 4 else "core", data[offset : offset + length])
        return
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end, flags, name = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line).groups()
            if not flags.startswith("rw") or name in ("[vvar]", "[vsyscall]"):
                continue
            memory.seek(int(start, 16))
            data = memory.read(int(end, 16) - int(start, 16))
            place = name if name.startswith("[") else "anonymous" if not name else "program"
            yield from pieces(place, data)


def pieces(place, data):
    """Runs of pages that are not all zero, a page of the next one included, so that nothing is cut."""
    page, start = 4096, None
    for at in range(0, len(data) + page, page):
        if data[at : at + page].strip(b"\0"):
            start = at if start is None else start
        elif start is not None:
            yield place, data[start:at]
            start = None


def look(word, pid, folder, gcore):
    """Prints what is found; whether that is as it must be."""
    found = Needles(folder).search(list(memory_of(pid, gcore)))
    for (name, place), count in sorted(found.items()):
        print(f"  {word:10} {name:34} {place:10} {count:7}")
    if not found:
        print(f"  {word:10} nothing")
    names = {name for name, _ in found}
    missing = [name for name in CONTROLS.get(word, []) if name not in names]
    if missing:
        print(f"  {word}: the search does not find {', '.join(missing)}, which is there")
    return not missing and (word != "dropped" or all(place == "registers" for _, place in found))


def main():
    gcore = "--gcore" in sys.argv[1:]
    good = True
    for set_name in ("p50", "p100"):
        print(f"{set_name}: what is found, where, how often")
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen([PROGRAM, folder, set_name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            seen = []
            for line in process.stdout:
                seen.append(line.decode().strip())
                try:
                    good &= look(seen[-1], process.pid, Path(folder), gcore)
                except PermissionError as error:
                    process.kill()
                    print(f"the child's memory can not be read here: {error}")
                    sys.exit(3)
                process.stdin.write(b"\n")
                process.stdin.flush()
            assert process.wait() == 0 and seen == ["alive", "encrypting", "dropped"], f"the program stopped at {seen}"
    if not good:
        sys.exit("secrets were left in memory, or the search is blind")


if __name__ == "__main__":
    main()
