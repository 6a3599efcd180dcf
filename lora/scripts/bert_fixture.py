#!/usr/bin/env python3
"""Makes lora/tests/fixtures/tiny-bert: a small random BERT, a random LoRA adapter, and what PyTorch computes with them.

    python3 lora/scripts/bert_fixture.py [--check-model DIR [--out FILE]]

Needs torch, transformers and peft. The fixture holds hidden states, logits, losses and, by a loop over the examples, the
gradient of each example's loss by every lora_A, every lora_B and the classifier. With --check-model it writes the same for a real
checkpoint and an adapter about as large as a trained one to FILE, for lora/examples/compare.rs.
"""

import argparse
import json
import pathlib

import peft
import torch
import transformers

LABELS = 5
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"


class Classifier(torch.nn.Module):
    """Mean over the real tokens, L2-normalised, then one linear head."""

    def __init__(self, bert, labels):
        super().__init__()
        self.bert = bert
        self.classifier = torch.nn.Linear(bert.config.hidden_size, labels)

    def forward(self, ids):
        hidden = self.bert(input_ids=ids).last_hidden_state
        pooled = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)
        return hidden, self.classifier(pooled)


def tiny_bert(directory):
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=100,
        max_position_embeddings=20, type_vocab_size=2)
    config._attn_implementation = "eager"
    bert = transformers.BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, p in bert.named_parameters():
            # Larger than BERT's initial 0.02, and no bias at zero, so that every term shows in the output.
            p.copy_((1.0 if name.endswith("LayerNorm.weight") else 0.0) + 0.25 * torch.randn_like(p))
    bert.save_pretrained(directory)
    config_file = directory / "config.json"
    text = json.loads(config_file.read_text())
    text.setdefault("position_embedding_type", "absolute")
    config_file.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    return bert


def with_adapter(bert, targets, r, alpha, spread, directory):
    model = Classifier(bert, LABELS)
    lora = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, modules_to_save=["classifier"], lora_dropout=0.0,
                           bias="none")
    model = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                p.copy_(spread * torch.randn_like(p))
    model.save_pretrained(directory, save_embedding_layers=False)
    config_file = directory / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["target_modules"].sort()  # peft writes a set, in an order of its own each time
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return model.eval()


def per_example(model, texts, labels):
    wanted = {name: p for name, p in model.named_parameters() if "lora_" in name or "modules_to_save" in name}
    for p in model.parameters():
        p.requires_grad_(False)
    for p in wanted.values():
        p.requires_grad_(True)
    rows = []
    for ids, label in zip(texts, labels):
        model.zero_grad()
        hidden, logits = model(torch.tensor([ids]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        loss.backward()
        gradients = {
            name.replace(".default", "").replace(".modules_to_save", ""): p.grad.flatten().tolist()
            for name, p in wanted.items()
        }
        rows.append({"ids": ids, "label": label, "loss": loss.item(), "hidden": hidden[0].flatten().tolist(),
                     "logits": logits[0].tolist(), "gradients": gradients})
    return rows


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return value


def write(path, rows):
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    path.write_text(json.dumps(rounded({"versions": versions, "labels": LABELS, "rows": rows})) + "\n")


def fixture():
    torch.manual_seed(20261124)
    directory = FIXTURES / "tiny-bert"
    directory.mkdir(parents=True, exist_ok=True)
    bert = tiny_bert(directory)
    targets = ["query", "value", "attention.output.dense", "intermediate.dense"]
    model = with_adapter(bert, targets, 3, 7, 0.3, directory / "adapter")
    lengths = [1, 5, 8, 9, 16, 17, 20]
    texts = [torch.randint(0, 100, (n,)).tolist() for n in lengths]
    labels = [i % LABELS for i in range(len(texts))]
    write(directory / "expected.json", per_example(model, texts, labels))
    for extra in ("README.md", "generation_config.json"):
        for found in directory.rglob(extra):
            found.unlink()


def check_model(model_dir, out):
    torch.manual_seed(7)
    bert = transformers.BertModel.from_pretrained(model_dir, add_pooling_layer=False, attn_implementation="eager")
    adapter = out.with_suffix(".adapter")
    model = with_adapter(bert, ["query", "value"], 8, 16, 0.05, adapter)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    texts = ["Cholera due to Vibrio cholerae 01, biovar eltor", "Type 2 diabetes mellitus with diabetic neuropathy, unspecified",
             "Fall", "Unspecified fracture of upper end of left tibia, subsequent encounter for open fracture type IIIA with delayed "
             "healing, and a note that goes on for a while so that the text has many tokens of every kind: 1.5 mg/day."]
    ids = [tokenizer(t, truncation=True, max_length=48)["input_ids"] for t in texts]
    rows = per_example(model, ids, [i % LABELS for i in range(len(ids))])
    for row, text in zip(rows, texts):
        row["text"] = text
    write(out, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check-model", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("expected.json"))
    args = parser.parse_args()
    if args.check_model:
        check_model(args.check_model, args.out)
    else:
        fixture()
