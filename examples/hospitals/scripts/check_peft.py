#!/usr/bin/env python3
"""Loads an adapter with Python's peft and compares its logits with ours.

    check_peft.py ADAPTER_DIR MODEL_DIR TSV LOGITS_JSON    compare; status 1 if a logit differs by more than 1e-4
    check_peft.py ADAPTER_DIR MODEL_DIR TSV                print the logits of the first rows as such a JSON

LOGITS_JSON is {"max_tokens": 64, "logits": [[...], ...]} with one list for each of the first rows of the TSV (column
`text`), or the list of lists alone. Needs torch (CPU is enough), transformers, peft, safetensors.
"""

import argparse
import csv
import json
import os
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on the disk

import peft
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer

TOLERANCE = 1e-4

# Its report on the pooler that the checkpoint has and this classifier does not use.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class Classifier(torch.nn.Module):
    """The base model and a linear head over the normalised mean of the real tokens' hidden states."""

    def __init__(self, model_dir, labels):
        super().__init__()
        self.bert = transformers.BertModel.from_pretrained(
            model_dir, add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32
        )
        self.classifier = torch.nn.Linear(self.bert.config.hidden_size, labels)

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return self.classifier(torch.nn.functional.normalize(mean, dim=-1))


def load(adapter_dir, model_dir):
    weights = load_file(os.path.join(adapter_dir, "adapter_model.safetensors"))
    labels = weights["base_model.model.classifier.weight"].shape[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(Classifier(model_dir, labels), adapter_dir)
    # peft only warns of a key that it did not find, and would go on with weights of its own.
    missing = [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    if missing:
        sys.exit(missing[0])
    loaded = peft.get_peft_model_state_dict(model)
    if set(loaded) != set(weights) or any(not torch.equal(loaded[name], weights[name]) for name in weights):
        sys.exit(f"peft holds other tensors than the file: {sorted(set(loaded) ^ set(weights)) or 'other values'}")
    return model.eval()


def encode(model_dir, texts, max_tokens):
    tokenizer = Tokenizer.from_file(os.path.join(model_dir, "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(texts)
    pick = lambda name: torch.tensor([getattr(encoding, name) for encoding in encodings])
    return pick("ids"), pick("attention_mask")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("adapter_dir", "model_dir", "tsv"):
        parser.add_argument(name)
    parser.add_argument("logits", nargs="?")
    parser.add_argument("--rows", type=int, default=64, help="rows to print logits of (64)")
    parser.add_argument("--max-tokens", type=int, default=64, help="where LOGITS_JSON does not say (64)")
    arguments = parser.parse_args()
    ours = None
    if arguments.logits:
        with open(arguments.logits, encoding="utf-8") as file:
            ours = json.load(file)
        if isinstance(ours, dict):
            arguments.max_tokens, ours = ours.get("max_tokens", arguments.max_tokens), ours["logits"]
        ours = torch.tensor(ours, dtype=torch.float32)
    with open(arguments.tsv, encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    texts = texts[: arguments.rows if ours is None else len(ours)]

    model = load(arguments.adapter_dir, arguments.model_dir)
    with torch.no_grad():
        parts = [texts[start : start + 32] for start in range(0, len(texts), 32)]
        inputs = (encode(arguments.model_dir, part, arguments.max_tokens) for part in parts)
        # The task's wrapper expects a model with a Transformers signature; the adapted module is one below it.
        theirs = torch.cat([model.get_base_model()(ids, mask) for ids, mask in inputs])
    if ours is None:
        print(json.dumps({"max_tokens": arguments.max_tokens, "logits": theirs.tolist()}))
        return
    if ours.shape != theirs.shape:
        sys.exit(f"{arguments.logits} has logits of shape {list(ours.shape)}, peft's are {list(theirs.shape)}")
    difference = (ours - theirs).abs().max().item()
    largest = theirs.abs().max().item()
    same = (ours.argmax(-1) == theirs.argmax(-1)).sum().item()
    print(f"peft {peft.__version__}, torch {torch.__version__}: {len(texts)} rows, {theirs.shape[1]} labels")
    print(f"max |difference| {difference:.2e} (largest |logit| {largest:.3f}); same label in {same} of {len(texts)} rows")
    if not difference <= TOLERANCE:
        sys.exit(f"above the tolerance of {TOLERANCE}")


if __name__ == "__main__":
    main()
