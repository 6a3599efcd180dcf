#!/usr/bin/env python3
"""Adapters of every family from peft to us and back: what we read, change and write, peft loads and computes the same with.

    python3 lora/scripts/peft_round_trip.py

Needs torch, transformers and peft, and cargo. Prints, for each family, the largest difference of the logits over the largest |logit|, and of
the weights that we merged over the largest weight of peft's own merge (in f32, and so but for the checkpoint's type); then the same of the second
adapters, with transformers' own heads and biases beside B, and of the third and fourth, which train some or all of the base model's biases; and of one of
ours on all linear layers, where peft must not adapt BERT's pooler.
"""

import json
import pathlib
import subprocess
import tempfile

import peft
import torch
import transformers
from family_fixtures import ALL, BIASES, FAMILIES, OUT, OWN, Classifier

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@torch.no_grad()
def compare(name, folder, own):
    made = json.loads((folder / "logits.json").read_text())
    encoder = name in ("bert", "roberta", "distilbert")
    kind = transformers.AutoModelForSequenceClassification if encoder else transformers.AutoModelForCausalLM
    base = kind.from_pretrained(OUT / name, dtype=torch.float32, attn_implementation="eager").eval()
    if encoder and not own:
        base = Classifier(name, getattr(base, name))
    model = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    off, largest = 0.0, 0.0
    for ids, found in zip(made["texts"], made["logits"], strict=True):
        ids = torch.tensor([ids])
        wanted = (model.base_model(ids=ids) if encoder and not own else model(input_ids=ids).logits).flatten()
        off = max(off, (wanted - torch.tensor(found)).abs().max().item())
        largest = max(largest, wanted.abs().max().item())
    if own and name == "llama":
        # It has no biases that peft could merge those beside B into; we refuse it too.
        return off / largest, None
    ours = kind.from_pretrained(folder / "merged", dtype=torch.float32).state_dict()
    theirs = {key: value for key, value in model.merge_and_unload().state_dict().items() if key in ours and "classifier" not in key}
    assert len(theirs) > 10, theirs.keys()
    weights = max((ours[key] - value).abs().max().item() for key, value in theirs.items())
    return off / largest, weights / max(value.abs().max().item() for value in theirs.values())


def main():
    with tempfile.TemporaryDirectory() as folder:
        example = ["cargo", "run", "--quiet", "--release", "-p", "lora", "--example", "peft_round_trip", "--", folder]
        subprocess.run(example, cwd=ROOT, check=True)
        print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
        print(f"{'family':14} {'logits':>8} {'merged':>8}")
        for name in FAMILIES:
            report(name, *compare(name, pathlib.Path(folder) / "adapter" / name, own=False))
        print("with transformers' own head, and biases")
        for name in OWN:
            report(name, *compare(name, pathlib.Path(folder) / "own" / name, own=True))
        print("with biases of the base model")
        for name in BIASES:
            report(name, *compare(name, pathlib.Path(folder) / "bias" / name, own=True))
        print("with all biases")
        for name in ALL:
            report(name, *compare(name, pathlib.Path(folder) / "all" / name, own=name != "bert"))
        print("with all biases, on all linear layers but BERT's pooler")
        report("bert", *compare("bert", pathlib.Path(folder) / "linear" / "bert", own=True))


def report(name, logits, weights):
    print(f"{name:14} {logits:8.1e} {'' if weights is None else f'{weights:8.1e}'}")
    assert logits < 1e-4 and (weights or 0) < (1e-2 if name in ("llama3", "distilbert") else 1e-6), name


if __name__ == "__main__":
    main()
