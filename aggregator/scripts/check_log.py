#!/usr/bin/env python3
"""An independent checker of a record's file (docs/protocol.md, "The record's file").

    check_log.py FILE [--charter DIGEST] [--roster DIGEST]

Reads what `plainchant-aggregator log DIR --out FILE` wrote, with no code of Plainchant: computes the Merkle root over the
leaves again (RFC 6962) and compares it with every announcement's and with the signed checkpoint, verifies every signature by the
roster's keys, and counts again who contributed. Prints one line an attempt and exits with 0, or names the first wrong entry and
exits with 1. Needs Python 3.11 and `cryptography` (written with 48.0.0).
"""

import argparse
import base64
import hashlib
import re
import struct
import sys
import tomllib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"plainchant-record/1\n"
VOIDS = {1: "key-sum", 2: "field-range", 3: "residual", 4: "false-answers", 5: "wrong-sum"}
ABANDONED = {1: "cohort-too-small", 2: "too-few-answers", 3: "outcomes-split", 4: "stopped", 5: "wrong-envelope"}


class Wrong(Exception):
    """What is wrong with the record."""


class Before(Wrong):
    """The same, with the entry before: its leaf is not the one that a later head counts."""


def require(holds, what):
    if not holds:
        raise Wrong(what)


class Reader:
    """Canonical bytes: numbers big-endian, byte strings and lists behind a 32-bit count."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def fixed(self, count):
        require(self.at + count <= len(self.data), "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self):
        return self.fixed(1)[0]

    def u32(self):
        return struct.unpack(">I", self.fixed(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.fixed(8))[0]

    def digest(self):
        return self.fixed(32)

    def bytes(self):
        return self.fixed(self.u32())

    def name(self):
        name = self.bytes()
        require(re.fullmatch(rb"[a-z0-9-]{1,64}", name), "a name of other characters")
        return name.decode()

    def option(self, read):
        flag = self.u8()
        require(flag < 2, "a flag that is neither 0 nor 1")
        return read() if flag else None

    def list(self, read):
        return [read() for _ in range(self.u32())]

    def signed(self, label):
        require(self.bytes() == label.encode(), f"a message that is no {label}")
        return {"label": label, "signer": self.name(), "signature": self.fixed(64), "body": self.bytes()}

    def whole(self, read):
        require(self.u8() == 1, "another version")
        value = read(self)
        require(self.at == len(self.data), "bytes that follow the last field")
        return value


def of(label, data):
    return hashlib.sha256(b"plainchant/v1/" + label.encode() + b"\0" + data).digest()


def said(signed, key, read):
    """The statement in a signed message, once its signature holds."""
    parts = (b"plainchant/v1/sign/", signed["label"].encode(), b"\0", signed["signer"].encode(), b"\0", signed["body"])
    holds(key, signed["signature"], b"".join(parts), f"the signature of {signed['signer']} over `{signed['label']}`")
    return Reader(signed["body"]).whole(read)


def holds(key, signature, data, what):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except InvalidSignature:
        raise Wrong(f"{what} does not hold") from None


def roster(r):
    def member():
        name, role, key = r.name(), r.u8(), r.fixed(32)
        r.fixed(64)
        return name, (role, key)

    charter, members = r.digest(), r.list(member)
    require(len({name for name, _ in members}) == len(members), "a member twice")
    return {"charter": charter, "members": dict(members)}


def leaf(r):
    value = {"round": r.u32(), "attempt": r.u32(), "announcement": r.digest(), "cohort": r.option(r.digest)}
    value["houses"] = r.list(r.name)
    value["end"] = (r.u8(), verdict(r)) if r.data[r.at] == 0 else (r.u8(), (r.u8(), r.u32(), r.u32()))
    value["signers"] = r.list(r.name)
    return value


def verdict(r):
    kind = r.u8()
    require(kind in (0, 6) or kind in VOIDS, "an unknown verdict")
    return kind, r.digest() if kind in (0, 6) else None


def announcement(r):
    require(r.u32() == 1, "another protocol version")
    value = {"size": r.u64(), "root": r.digest(), "charter": r.digest(), "roster": r.digest()}
    value |= {"round": r.u32(), "attempt": r.u32(), "expected": r.list(r.name), "may_vanish": r.u32(), "adapter": r.digest()}
    value["times"] = [r.u64() for _ in range(4)]
    value["committee"] = r.list(lambda: (r.u8(), r.signed("one-time-key")))
    r.bytes(), r.option(r.digest)
    return value


def offer(r):
    return {"charter": r.digest(), "member": r.name(), "sequence": r.u64(), "key": r.fixed(32)}


def contribution(r):
    value = {"announcement": r.digest(), "member": r.name(), "ciphertext": r.digest(), "chunks": r.u32()}
    r.bytes()
    return value | {"sealed": len(r.list(r.digest)), "ledger": r.digest()}


def claim(r):
    return r.digest(), r.digest(), r.digest()


def outcome(r):
    return {"announcement": r.digest(), "cohort": r.digest(), "member": r.name(), "verdict": verdict(r)}


def complaint(r):
    value = {"announcement": r.digest(), "member": r.name(), "index": r.u8(), "dealer": r.u32()}
    return value | {"sealed": r.bytes(), "proof": r.bytes()}


def entry(r):
    value = {"leaf": r.bytes(), "announcement": r.signed("announcement")}
    value["cohort"] = r.option(lambda: (r.digest(), r.list(lambda: r.signed("contribution"))))
    value["claim"] = r.option(lambda: r.signed("sum-claim"))
    value["complaint"] = r.option(lambda: r.signed("complaint"))
    value["outcomes"] = r.list(lambda: r.signed("outcome"))
    return value


def root(hashes):
    """The Merkle tree hash of RFC 6962, section 2.1."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(hashes[:split]) + root(hashes[split:])).digest()


class Record:
    def __init__(self, charter_text, roster_bytes):
        self.charter, self.charter_digest = tomllib.loads(charter_text.decode()), hashlib.sha256(charter_text).digest()
        self.roster, self.roster_digest = Reader(roster_bytes).whole(roster), of("roster", roster_bytes)
        self.aggregator = bytes.fromhex(self.charter["aggregator_key"])
        require(self.roster["charter"] == self.charter_digest, "the roster is for another charter")
        self.members = self.roster["members"]
        self.order = list(self.members)
        houses = [house["name"] for house in self.charter["house"]]
        trustees = [trustee["name"] for trustee in self.charter.get("trustee", [])]
        require(self.order == houses + trustees, "the roster's members are not the charter's")
        self.committee = [name for name, (role, _) in self.members.items() if role in (0, 1)]
        self.hashes, self.round, self.attempt, self.state, self.over, self.keys = [], 1, 0, None, False, {}
        self.counts = dict.fromkeys(houses, 0)

    def key(self, name, roles=(0, 1, 2)):
        require(name in self.members and self.members[name][0] in roles, f"`{name}` may not say this")
        return self.members[name][1]

    def add(self, data):
        parts = Reader(data).whole(entry)
        what, signed = Reader(parts["leaf"]).whole(leaf), parts["announcement"]
        require(signed["signer"] == "aggregator", "an announcement by somebody else")
        made, digest = said(signed, self.aggregator, announcement), of("announcement", signed["body"])
        require(made["size"] == len(self.hashes), f"announced over {made['size']} entries, but it stands behind {len(self.hashes)}")
        self.counted(made["root"])
        require((made["charter"], made["roster"]) == (self.charter_digest, self.roster_digest), "another charter or roster")
        require(not self.over, "an attempt after the end of the run")
        require(made["round"] == self.round and made["attempt"] > self.attempt, "a round or attempt out of order")
        require(self.state in (None, made["adapter"]), "it starts from another state than the agreed one")
        rules = self.charter["rounds"]
        require(made["times"][1:] == [rules[key] for key in ("submit_at_ms", "close_ms", "open_ms")], "other deadlines")
        self.in_order(made["expected"], 1)
        require(made["may_vanish"] <= rules["may_vanish"] and len(made["expected"]) <= rules["max_cohort"], "an expected set against the charter")
        require(len(made["expected"]) >= rules["min_cohort"] + made["may_vanish"], "an expected set that is too small")
        require([seat["signer"] for _, seat in made["committee"]] == self.committee, "another committee")
        for index, (seat, signed_offer) in enumerate(made["committee"], 1):
            given = said(signed_offer, self.key(signed_offer["signer"]), offer)
            require(seat == index and given["member"] == signed_offer["signer"] and given["charter"] == self.charter_digest, "a seat's key")
            require(given["sequence"] > self.keys.get(given["member"], -1), f"a one-time key of {given['member']} is used again")
            self.keys[given["member"]] = given["sequence"]
        require((what["round"], what["attempt"], what["announcement"]) == (made["round"], made["attempt"], digest), "a leaf of another attempt")
        floor = max(len(made["expected"]) - made["may_vanish"], rules["min_cohort"])
        list_digest = self.cohort(parts["cohort"], what, made, digest, floor)
        end = self.end(parts, what, digest, list_digest)
        self.hashes.append(hashlib.sha256(b"\0" + parts["leaf"]).digest())
        for house in what["houses"]:
            self.counts[house] += 1
        return f"round {what['round']:4} attempt {what['attempt']:3}: {len(what['houses'])} of {len(made['expected'])} houses, {end}"

    def counted(self, head):
        if head != root(self.hashes):
            raise Before("its leaf is not the one that the head after it counts")

    def cohort(self, cohort, what, made, digest, floor):
        if cohort is None:
            require(what["cohort"] is None and not what["houses"], "a leaf with a cohort that is not there")
            return None
        houses = [signed["signer"] for signed in cohort[1]]
        require(cohort[0] == digest, "a cohort of another announcement")
        require(len(houses) >= floor, f"a cohort of {len(houses)}; at least {floor} are needed")
        self.in_order(houses, 2)
        for signed in cohort[1]:
            manifest = said(signed, self.key(signed["signer"], (0, 2)), contribution)
            require(manifest["announcement"] == digest and manifest["member"] == signed["signer"], "a contribution to something else")
            require(manifest["member"] in made["expected"], f"`{manifest['member']}` was not expected")
            require(manifest["sealed"] == len(self.committee), "shares for another committee")
        parts = [struct.pack(">I", len(cohort[1]))]
        for signed in cohort[1]:
            strings = [b"contribution", signed["signer"].encode()]
            head = b"".join(struct.pack(">I", len(string)) + string for string in strings)
            parts.append(head + signed["signature"] + struct.pack(">I", len(signed["body"])) + signed["body"])
        list_digest = of("cohort-list", b"\1" + digest + b"".join(parts))
        require(what["cohort"] == list_digest and what["houses"] == houses, "a leaf with another cohort")
        return list_digest

    def end(self, parts, what, digest, list_digest):
        kind, end = what["end"]
        self.attempt = what["attempt"]
        if kind == 1:
            require(end[0] in ABANDONED and not (what["signers"] or parts["outcomes"] or parts["claim"]), "an abandoned attempt with a verdict")
            require((end[0] == 5) == (parts["complaint"] is not None), "a complaint too many or too few")
            if parts["complaint"]:
                accused = said(parts["complaint"], self.key(parts["complaint"]["signer"]), complaint)
                require(accused["announcement"] == digest and accused["dealer"] == end[1] and list_digest, "a complaint of something else")
            return "abandoned: " + ABANDONED[end[0]]
        require(kind == 0 and list_digest and parts["claim"] and not parts["complaint"], "a verdict without what it is about")
        require(said(parts["claim"], self.aggregator, claim)[:2] == (digest, list_digest), "a claim about another sum")
        signers = [signed["signer"] for signed in parts["outcomes"]]
        for signed in parts["outcomes"]:
            spoken = said(signed, self.key(signed["signer"], (0,)), outcome)
            require((spoken["announcement"], spoken["cohort"], spoken["member"]) == (digest, list_digest, signed["signer"]), "an outcome of something else")
            require(spoken["verdict"] == end, f"`{signed['signer']}` signed another verdict")
        require(len(set(signers)) == len(signers) >= self.charter["committee"]["threshold"], "too few houses signed the verdict")
        require(signers == what["signers"], "a leaf with other signers")
        if end[1] is None:
            return "void: " + VOIDS[end[0]]
        self.state, self.attempt, self.over = end[1], 0, end[0] == 6 or what["round"] >= self.charter["rounds"]["count"]
        self.round += 1
        return f"applied: state {end[1].hex()}"

    def in_order(self, names, least):
        places = [self.order.index(name) if name in self.order else -1 for name in names]
        require(all(a < b for a, b in zip([-1] + places, places)) and len(names) >= least, "houses twice, unknown or out of order")

    def close(self, note):
        """The C2SP signed note (https://c2sp.org/tlog-checkpoint), and cosignatures (https://c2sp.org/tlog-cosignature)."""
        text, _, lines = note.decode().rpartition("\n\n")
        text, origin = text + "\n", "plainchant/" + self.charter["name"]
        keys = {origin: (1, self.aggregator)} | {f"{origin}/{name}": (4, key) for name, (role, key) in self.members.items() if role in (0, 1)}
        signed = []
        for line in lines.splitlines():
            mark, name, blob = line.split(" ")
            require(mark == "\N{EM DASH}" and name in keys and name not in signed, f"`{name}` is nobody who signs")
            (algorithm, key), blob = keys[name], base64.b64decode(blob, validate=True)
            require(blob[:4] == hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:4], f"another key of {name}")
            over, signature = text.encode(), blob[4:]
            if algorithm == 4:
                over, signature = f"cosignature/v1\ntime {int.from_bytes(blob[4:12])}\n{text}".encode(), blob[12:]
            holds(key, signature, over, f"the signature of {name}")
            signed.append(name)
        require(signed[:1] == [origin], "the aggregator did not sign first")
        require(text.split("\n")[:1] == [origin] and text.count("\n") == 3, "the checkpoint of another log")
        size, head = int(text.split("\n")[1]), base64.b64decode(text.split("\n")[2], validate=True)
        require(size == len(self.hashes), f"it counts {size} entries, and {len(self.hashes)} are there")
        self.counted(head)
        return [name.removeprefix(origin + "/") for name in signed[1:]]


def check(data, charter=None, known_roster=None):
    last = place = "the header"
    try:
        require(data.startswith(MAGIC), "this is no record's file of version 1")
        file = Reader(data)
        file.fixed(len(MAGIC))
        record = Record(file.bytes(), file.bytes())
        for name, known, found in [("charter", charter, record.charter_digest), ("roster", known_roster, record.roster_digest)]:
            print(f"{name} {found.hex()}")
            require(known in (None, found.hex()), f"another {name} than {known}")
        for number in range(len(data)):
            last, place = place, f"entry {number}"
            kind = file.fixed(1)
            require(kind in (b"E", b"C"), "neither an entry nor the checkpoint")
            if kind == b"C":
                break
            print(f"entry {number}: {record.add(file.bytes())}")
        place = "the checkpoint"
        houses = record.close(file.bytes())
        require(file.at == len(data), "bytes that follow it")
    except (Wrong, ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        print(f"{last if isinstance(error, Before) else place}: {error or type(error).__name__}", file=sys.stderr)
        return False
    print("contributions that count: " + ", ".join(f"{house} {count}" for house, count in record.counts.items()))
    print(f"{len(record.hashes)} entries, root {root(record.hashes).hex()}, countersigned by {', '.join(houses) or 'nobody'}")
    return True


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("file")
    arguments.add_argument("--charter", help="the digest that you know")
    arguments.add_argument("--roster", help="the digest that you know")
    given = arguments.parse_args()
    with open(given.file, "rb") as opened:
        sys.exit(0 if check(opened.read(), given.charter, given.roster) else 1)
