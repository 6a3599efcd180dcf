#!/usr/bin/env python3
"""What transformers computes with a real checkpoint, for lora/examples/compare_logits.rs.

    python3 lora/scripts/check_logits.py MODEL_DIR OUT.json

Needs torch and transformers. Of a language model OUT holds the logits of every eighth token and the last, in f32, and what greedy
decoding says after the chat template; of an encoder without a head its hidden states.
"""

import json
import sys

import torch
import transformers

TEXTS = [
    "Acute myocardial infarction of the anterior wall.",
    "Type 2 diabetes mellitus with diabetic nephropathy, stage 3b; HbA1c 8.9 % on 12/03/2021.",
    "def fold(xs):\n    return sum(x * 2 for x in xs)  # Grüße, 東京",
    "The federation's clients never send their rows. " * 12,
]
QUESTION = "What is the capital of France? Answer in one sentence."


@torch.no_grad()
def main():
    folder, out = sys.argv[1:]
    config = transformers.AutoConfig.from_pretrained(folder)
    decoder = any(name.endswith("ForCausalLM") for name in config.architectures or [])
    kind = transformers.AutoModelForCausalLM if decoder else transformers.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=256)["input_ids"]
        result = model(input_ids=torch.tensor([ids]))
        values = (result.logits if decoder else result.last_hidden_state)[0]
        places = sorted({*range(0, len(ids), 8), len(ids) - 1})
        rows.append({"text": text, "ids": ids, "places": places, "values": [values[place].tolist() for place in places]})
    answer = None
    if decoder:
        chat = [{"role": "user", "content": QUESTION}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        said = model.generate(input_ids=ids, max_new_tokens=24, do_sample=False)[0]
        answer = {"question": QUESTION, "prompt": prompt, "ids": said.tolist(), "prompt_tokens": ids.shape[1]}
        print(tokenizer.decode(said[ids.shape[1]:]))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    with open(out, "w") as file:
        json.dump({"versions": versions, "rows": rows, "answer": answer}, file)


if __name__ == "__main__":
    main()
