#!/usr/bin/env python3
"""What the known lattice attacks cost against the parameter sets, by the lattice estimator.

    git clone https://github.com/malb/lattice-estimator && git -C lattice-estimator checkout COMMIT
    PYTHONPATH=lattice-estimator python3 secure-sum/scripts/estimate.py COMMIT > secure-sum/scripts/estimate.txt

COMMIT is the one that estimate.txt names; a checkout of another one, or one with changes, is refused. Needs SageMath, or instead of it the packages that PIP names below.
Takes about five minutes.

Each set is estimated with unboundedly many samples (every chunk is one under the same key, and more may be made) and
secret and error of one discrete Gaussian, of three widths:

    fresh    sigma            a contribution before its round is opened, or that never is
    opened   sigma / sqrt(2)  one of two honest clients whose sums of keys and errors were opened
    proved   sigma / 2        the plain ring-LWE that the reduction in docs/security.md ends at

The numbers of params.rs are the least of the first cost model, rounded down; a test compares them.

Left out: coded BKW (2^521 for P50, opened) and the hybrid with meet in the middle, which guesses coordinates of a
secret that is not sparse (2^284 for P50, opened); Arora-Ge, which is for errors of few values, and whose estimate did
not end in ten minutes. The hybrid without meet in the middle guesses nothing here and is the BDD attack again, so it
is estimated under the first model only.
"""

import importlib
import multiprocessing
import subprocess
import sys
import types
from math import log2, sqrt
from pathlib import Path

PIP = "passagemath-" + "{categories,environment,flint,gsl,modules,ntl,objects,pari,repl,symbolics} scipy"

Q1, Q2 = 2**50 - 16_383, 2**50 - 212_991
SETS = {"P50": (2048, Q1), "P100": (4096, Q1 * Q2)}
SIGMA = 6.4
WIDTHS = {"fresh": SIGMA, "opened": SIGMA / sqrt(2), "proved": SIGMA / 2}
SECONDS = 300


def load_sage() -> None:
    """Where only Sage's parts are installed, `sage.all` is put together from them."""
    try:
        importlib.import_module("sage.all")
    except ModuleNotFoundError:
        everything = types.ModuleType("sage.all")
        for part in PIP[PIP.index("{") + 1 : PIP.index("}")].split(","):
            everything.__dict__.update(vars(importlib.import_module(f"sage.all__sagemath_{part}")))
        everything.__dict__["line"] = None  # only for plots
        sys.modules["sage.all"] = everything


load_sage()

import estimator  # noqa: E402
from estimator import LWE, ND, RC, schemes  # noqa: E402
from estimator.reduction import ADPS16  # noqa: E402

MODELS = {
    "MATZOV": RC.MATZOV,
    "BDGL16": RC.BDGL16,
    "ADPS16": RC.ADPS16,
    "ADPS16-quantum": ADPS16(mode="quantum"),
    "ChaLoy21-quantum": RC.ChaLoy21,
}
ATTACKS = {"usvp": LWE.primal_usvp, "bdd": LWE.primal_bdd, "dual": LWE.dual, "dual_hybrid": LWE.dual_hybrid}
FIRST_MODEL_ONLY = {"bdd_hybrid": lambda p, **model: LWE.primal_hybrid(p, mitm=False, babai=False, **model)}


def estimate(attack, parameters, model, out) -> None:
    result = attack(parameters, red_cost_model=MODELS[model])
    out.put((float(log2(result["rop"])), int(result.get("beta", 0)), int(result.get("d", 0))))


def bounded(name: str, parameters, model: str):
    """The attack's figures, or none when they take longer than SECONDS."""
    out = multiprocessing.Queue()
    attack = (ATTACKS | FIRST_MODEL_ONLY)[name]
    child = multiprocessing.get_context("fork").Process(target=estimate, args=(attack, parameters, model, out))
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
        return None
    return out.get(timeout=5) if child.exitcode == 0 else None


def check_commit(commit: str) -> None:
    """That the estimator which was imported is an unchanged checkout of this commit."""
    git = ["git", "-C", str(Path(estimator.__file__).resolve().parent)]
    found = subprocess.run(git + ["rev-parse", "HEAD"], capture_output=True, text=True)
    if found.returncode:
        sys.exit("the estimator is no checkout of a git repository, so its commit can not be told")
    head = found.stdout.strip()
    changes = subprocess.run(
        git + ["status", "--porcelain", "--untracked-files=no"], check=True, capture_output=True, text=True
    ).stdout
    if head != commit or changes:
        sys.exit(f"the estimator is at commit {head}{', changed' if changes else ''}, not {commit}")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: estimate.py COMMIT")
    check_commit(sys.argv[1])
    print(f"# lattice estimator, commit {sys.argv[1]}; written by scripts/estimate.py; do not edit.")
    print("# log2 of the cost; block size and dimension where the attack has them.")
    print(f"# {'case':12}{'sigma':>6}  {'model':18}{'attack':16}{'log2':>6}{'beta':>6}{'d':>6}")

    def row(set_name: str, case: str, sigma: str, model: str, attack: str, figures) -> None:
        log, beta, d = figures or (float("inf"), 0, 0)
        print(f"{set_name:6}{case:8}{sigma:>6}  {model:18}{attack:16}{log:>6.1f}{beta or '-':>6}{d or '-':>6}", flush=True)

    # For scale, and as a check: the estimator's own documentation says 143.8, 140.2, 149.9 and 139.7 for the first four.
    for model in ("MATZOV", "ADPS16"):
        for attack in ATTACKS:
            row("Kyber", "512", "1.225", model, attack, bounded(attack, schemes.Kyber512, model))
    for set_name, (n, q) in SETS.items():
        for case, sigma in WIDTHS.items():
            law = ND.DiscreteGaussian(sigma)
            parameters = LWE.Parameters(n=n, q=q, Xs=law, Xe=law)
            for model in MODELS:
                first = model == next(iter(MODELS))
                for attack in ATTACKS | (FIRST_MODEL_ONLY if first else {}):
                    row(set_name, case, f"{sigma:.3f}", model, attack, bounded(attack, parameters, model))


if __name__ == "__main__":
    main()
