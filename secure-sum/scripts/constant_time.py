#!/usr/bin/env python3
"""Instruction counts of the steps that touch secrets, for many keys: they must be one number.

    constant_time.py callgrind [KEYS]   valgrind's count of each step in both parameter sets; valgrind has no AVX-512,
                                        so this is the AVX2 path (100 keys)
    constant_time.py steps [KEYS]       single steps of encrypt on the path that this processor takes, AVX-512 if it has
                                        it; Linux on x86-64, some seconds a key (3 keys)

Both run target/release/examples/constant_time, which `cargo test --release` builds. Everything public is the same for
every key but the envelopes; verifying an envelope's proof, public data in variable time, is counted on its own and
taken off the answer and the complaint. Each key has a process of its own, so that the allocator and the addresses are the same for each,
with an empty environment and arguments of one length, which lie on its stack and move what comes after them: copies of
another alignment take some instructions more or less. Key 0 comes before it, to warm the process up. Exits with 1 when counts differ, with 3 when nothing can be counted here.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
PROGRAM = TARGET / "release/examples/constant_time"
STEPS = ["generate", "deal", "seal", "public", "answer", "complain", "encrypt"]


def callgrind(set_name, key):
    """Counts by step: one dump at the end of each call."""
    flags = [f"--dump-after=constant_time::measured_{step}" for step in STEPS]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [shutil.which("valgrind"), "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=constant_time::measured_*"]
            + flags
            + ["--callgrind-out-file=out", PROGRAM, set_name, "0", f"{key:06}"],
            check=True,
            cwd=folder,
            env={},
            stderr=subprocess.DEVNULL,
        )
        counts = {}
        for dump in sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:])):
            text = dump.read_text()
            step = re.search(r"dump-after=constant_time::measured_(\w+)", text)[1]
            counts[step] = int(re.search(r"^summary: (\d+)", text, re.M)[1])
    # A sender's proof is verified in a time that depends on the envelope, which anybody may see.
    public = counts.pop("public")
    counts["answer"] -= public
    counts["complain"] -= public
    return counts


def single_steps(set_name, key):
    """The count of encrypt."""
    symbols = subprocess.run(["nm", PROGRAM], check=True, capture_output=True, text=True).stdout
    address = re.search(r"^([0-9a-f]+) [tT] \S*measured_encrypt", symbols, re.M)[1]
    counter = PROGRAM.with_name("count_steps")
    subprocess.run(["cc", "-O1", "-o", counter, HERE / "count_steps.c"], check=True)
    run = subprocess.run(
        [counter, "1", PROGRAM, set_name, "0", f"{key:06}"],
        input=f"encrypt {address}\n",
        capture_output=True,
        text=True,
        env={},
    )
    if run.returncode:
        print(f"this system lets no process step through another: {run.stderr.strip()}")
        sys.exit(3)
    return {"encrypt": int(run.stdout.split()[1])}


def main():
    tools = {"callgrind": (callgrind, 100, ["p50", "p100"], "valgrind"), "steps": (single_steps, 3, ["p50"], "cc")}
    if len(sys.argv) < 2 or sys.argv[1] not in tools:
        sys.exit(__doc__)
    count, keys, sets, needed = tools[sys.argv[1]]
    keys = range(1, 1 + (int(sys.argv[2]) if len(sys.argv) > 2 else keys))
    if shutil.which(needed) is None:
        print(f"{needed} is missing, so nothing was counted")
        sys.exit(3)
    different = False
    print(f"{'set':6}{'step':10}{'keys':>6}{'instructions':>14}")
    # One at a time by single steps: the two processes of a count share a core best.
    with ThreadPoolExecutor(1 if count is single_steps else os.cpu_count()) as pool:
        for set_name in sets:
            counts = list(pool.map(lambda key: count(set_name, key), keys))
            for step in counts[0]:
                values = sorted({one[step] for one in counts})
                different |= len(values) > 1
                print(f"{set_name:6}{step:10}{len(counts):6}  {' '.join(f'{value:,}' for value in values):>12}")
    if different:
        sys.exit("the counts depend on the key")


if __name__ == "__main__":
    main()
