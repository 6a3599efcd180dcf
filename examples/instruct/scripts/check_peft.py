#!/usr/bin/env python3
"""Loads the adapter with Python's peft and compares what the model says with what ours said.

    check_peft.py ADAPTER_DIR MODEL_DIR SAID_JSON [--rows 40]

SAID_JSON is `said.json` of a run. Greedy decoding in both; status 1 if an answer differs. Needs torch (CPU is enough), transformers and peft.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on the disk

import peft
import torch
import transformers

MOST = 28


@torch.no_grad()
def answer(model, tokenizer, prompt):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    said = model.generate(**inputs, do_sample=False, max_new_tokens=MOST, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(said[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("adapter_dir", "model_dir", "said"):
        parser.add_argument(name)
    parser.add_argument("--rows", type=int, default=40, help="answers to compare, of those before and of those after (40)")
    arguments = parser.parse_args()
    with open(arguments.said, encoding="utf-8") as file:
        ours = json.load(file)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model_dir, dtype=torch.float32).eval()
    different = 0
    for name in ("before", "after"):
        if name == "after":
            model = peft.PeftModel.from_pretrained(model, arguments.adapter_dir).eval()
        rows = ours[name][: arguments.rows]
        theirs = [answer(model, tokenizer, row["prompt"]) for row in rows]
        wrong = [(row["said"], text) for row, text in zip(rows, theirs, strict=True) if row["said"] != text]
        print(f"{name}: {len(rows) - len(wrong)} of {len(rows)} answers are the same")
        for mine, text in wrong[:5]:
            print(f"  ours   {mine!r}\n  theirs {text!r}")
        different += len(wrong)
    print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
