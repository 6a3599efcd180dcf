#!/usr/bin/env python3
"""Writes tests/fixtures/scores.json: accuracies and macro F1 of labels and answers, by scikit-learn.

Needs scikit-learn. Deterministic: all inputs come from Python's seeded generator.
"""

import json
import random
import warnings
from pathlib import Path

import sklearn
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

CLASSES = 3


def answers(generator, counts, right):
    """So many rows of each label, each answered right with its chance, else by any other class."""
    for label, count in enumerate(counts):
        for _ in range(count):
            other = (label + generator.randint(1, CLASSES - 1)) % CLASSES
            yield label, label if generator.random() < right[label] else other


def main():
    warnings.simplefilter("ignore")  # of a class that is answered and no label
    generator = random.Random(20261129)
    cases = []
    for counts, right in [
        ((40, 30, 20), (0.9, 0.6, 0.3)),
        ((5, 60, 1), (0.5, 0.9, 0.0)),
        ((30, 20, 0), (0.7, 0.4, 0.0)),  # the last class is answered, and no row has it
        ((30, 20, 0), (1.0, 1.0, 0.0)),  # the last class is nowhere
    ]:
        rows = list(answers(generator, counts, right))
        labels, found = [row[0] for row in rows], [row[1] for row in rows]
        cases.append(
            {
                "labels": labels,
                "answers": found,
                "accuracy": accuracy_score(labels, found),
                "macro_accuracy": balanced_accuracy_score(labels, found),
                "macro_f1": f1_score(labels, found, average="macro", zero_division=0),
            }
        )
    fixture = {"made_by": "terms/scripts/scores.py", "versions": {"scikit-learn": sklearn.__version__}, "cases": cases}
    path = Path(__file__).parent.parent / "tests/fixtures/scores.json"
    path.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
