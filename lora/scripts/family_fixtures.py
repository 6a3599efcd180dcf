#!/usr/bin/env python3
"""Makes lora/tests/fixtures/families: small random checkpoints of every family, the logits that transformers computes with them, random
LoRA adapters that peft saved, and the losses and per-example gradients that PyTorch computes with those.

    python3 lora/scripts/family_fixtures.py

Needs torch, transformers and peft (the versions are written into each expected.json). Between them the checkpoints reach every branch:
fewer key/value heads than heads, a head size that is not hidden over heads, tied and untied embeddings, biases, norms of queries and
keys, every kind of rotary scaling, sliding windows shorter than a text on all and on some layers, weights in three types, several files
with an index. Adapters are on queries, keys, attention outputs and the last layer of the feed-forward block. Encoders have a head on the
mean of their hidden states, of norm 1, as lora's classifier has; a second adapter of each (own.json) keeps transformers' own head and has biases beside B, as one of two decoders has;
a third of some (bias.json) trains biases of the base model, a fourth (all.json) all of them, saved in several types. Gradients are made by a loop over the examples. Texts have several lengths; the longest is left-padded into one batch with the others as well.
"""

import copy
import json
import pathlib
import shutil

import peft
import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "families"
VOCAB = 61
LENGTHS = [1, 3, 7, 12]
LABELS = 3
# Tokens of each text that are given, and not learnt.
PROMPTS = [0, 1, 3]
SUFFIXES = {
    "bert": ["query", "key", "attention.output.dense", "layer.1.output.dense"],
    "roberta": ["query", "key", "attention.output.dense", "layer.1.output.dense"],
    "distilbert": ["q_lin", "k_lin", "out_lin", "lin2"],
    "llama": ["q_proj", "k_proj", "o_proj", "down_proj"],
}

# Families with a second adapter.
OWN = ["bert", "roberta", "distilbert", "llama", "llama3"]
# Families with a third, and which of the base model's biases it trains.
BIASES = {"bert": "all", "roberta": "lora_only", "distilbert": "all", "qwen2": "lora_only"}
# Families with a fourth, which trains them all: the type in which peft saves them and the head, and the type of A and B. That of BERT has the head on the mean.
ALL = {
    "bert": (torch.float32, torch.float32), "roberta": (torch.float32, torch.float32),
    "distilbert": (torch.float16, torch.float16), "qwen2": (torch.bfloat16, torch.float32),
}

LLAMA = dict(
    hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=VOCAB,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
ENCODER = dict(
    hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCAB,
    max_position_embeddings=20, num_labels=3, pad_token_id=0)


def rope(kind, **values):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=500.0, **values))


# name: (configuration, weights' type, largest file in bytes)
FAMILIES = {
    "bert": (transformers.BertConfig(**ENCODER), torch.float32, None),
    "roberta": (transformers.RobertaConfig(**ENCODER | dict(pad_token_id=1, type_vocab_size=1)), torch.float32, None),
    "distilbert": (
        transformers.DistilBertConfig(
            dim=32, hidden_dim=44, n_layers=2, n_heads=4, vocab_size=VOCAB, max_position_embeddings=20, num_labels=3),
        torch.float16, None),
    "llama": (transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True), torch.float32, None),
    "llama3": (
        transformers.LlamaConfig(
            **LLAMA, attention_bias=True, mlp_bias=True, head_dim=6, rms_norm_eps=1e-4, tie_word_embeddings=False,
            **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
        torch.bfloat16, 9000),
    "llama-linear": (transformers.LlamaConfig(**LLAMA, **rope("linear", factor=2.5)), torch.float32, None),
    "llama-yarn": (
        transformers.LlamaConfig(**LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=16)),
        torch.float32, None),
    "mistral": (transformers.MistralConfig(**LLAMA | dict(num_key_value_heads=1), sliding_window=5), torch.float32, None),
    "qwen2": (
        transformers.Qwen2Config(
            **LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1, tie_word_embeddings=True),
        torch.float32, None),
    "qwen3": (transformers.Qwen3Config(**LLAMA, head_dim=10), torch.float32, None),
}


def model_of(config):
    config._attn_implementation = "eager"
    if config.model_type in ("bert", "roberta", "distilbert"):
        return transformers.AutoModelForSequenceClassification.from_config(config).eval()
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def randomize(model, dtype):
    """Larger than the initial values, and no bias at zero, so that every term shows in the logits; rounded to `dtype`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_((centre + 0.25 * torch.randn_like(parameter)).to(dtype).float())


@torch.no_grad()
def logits(model, texts):
    """Each text alone, without padding."""
    return [model(input_ids=torch.tensor([text])).logits[0] for text in texts]


@torch.no_grad()
def left_padded(model, texts):
    """All texts in one batch, padded on the left, positions counted from each text's first token."""
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    return [row[longest - len(text):] for row, text in zip(out, texts, strict=True)]


class Classifier(torch.nn.Module):
    """Mean over the real tokens, L2-normalised, then one linear head."""

    def __init__(self, name, encoder):
        super().__init__()
        setattr(self, name, encoder)
        self.name = name
        self.classifier = torch.nn.Linear(encoder.config.hidden_size, LABELS)

    def forward(self, ids):
        hidden = getattr(self, self.name)(input_ids=ids).last_hidden_state
        return self.classifier(torch.nn.functional.normalize(hidden.mean(dim=1), dim=1))


def loss_of(model, text, prompt, label):
    """Of an encoder the label's, of a decoder the mean over the tokens after the prompt."""
    ids = torch.tensor([text])
    if label is not None:
        logits = model.base_model(ids=ids) if isinstance(model.base_model.model, Classifier) else model(input_ids=ids).logits
        return torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
    logits = model(input_ids=ids).logits[0, :-1]
    first = max(prompt, 1)
    return torch.nn.functional.cross_entropy(logits[first - 1:], ids[0, first:])


def trained_of(model):
    """By the name in a saved file, what peft trains."""
    trained = {}
    for key, parameter in model.named_parameters():
        if "lora_" in key or "modules_to_save" in key:
            trained[key.replace(".default", "").replace(".modules_to_save", "")] = parameter
        elif parameter.requires_grad and key.endswith(".bias") and "original_module" not in key:
            trained[key] = parameter
        else:
            parameter.requires_grad_(False)
    return trained


def adapted(name, model, texts, folder, kind_of="adapter"):
    """Attaches a random adapter with peft, saves it, and computes each text's loss and gradients. "own": with transformers' own head, and biases beside B;
    "bias": with transformers' own head, and the base model's biases trained; "all": all of them, as saved and loaded again."""
    own = kind_of in ("own", "bias") or kind_of == "all" and name != "bert"
    bias = {"bias": BIASES.get(name), "all": "all"}.get(kind_of, "none")
    kind = model.config.model_type
    decoder = kind not in ("bert", "roberta", "distilbert")
    if not decoder and not own:
        model = Classifier(kind, getattr(model, kind))
    base = copy.deepcopy(model)
    saved = ["pre_classifier", "classifier"] if own and kind == "distilbert" else ["classifier"]
    config = peft.LoraConfig(
        r=2, lora_alpha=6, target_modules=SUFFIXES.get(kind, SUFFIXES["llama"]), use_rslora=name == "qwen3",
        task_type="CAUSAL_LM" if decoder else "SEQ_CLS", modules_to_save=None if decoder else saved,
        lora_bias=kind_of == "own", bias=bias)
    model = peft.PeftModel(model, config) if not decoder else peft.get_peft_model(model, config)
    trained = trained_of(model)
    with torch.no_grad():
        for key, parameter in trained.items():
            values = 0.25 * torch.randn_like(parameter)
            parameter.copy_(values if "lora_" in key or "classifier" in key else parameter + values)
            parameter.requires_grad_(True)
    saved = folder / kind_of
    if kind_of == "all":
        kept, factors = ALL[name]
        for key, parameter in model.named_parameters():
            parameter.data = parameter.data.to(factors if "lora_" in key else kept)
    model.save_pretrained(saved)
    (saved / "README.md").unlink(missing_ok=True)
    if kind_of == "all":
        model = peft.PeftModel.from_pretrained(base, saved, is_trainable=True)
        trained = trained_of(model)
    model.eval()
    rows = []
    for index, (text, prompt) in enumerate(zip(texts[1:], PROMPTS, strict=True)):
        label = None if decoder else index % LABELS
        model.zero_grad()
        loss = loss_of(model, text, prompt, label)
        loss.backward()
        gradients = {key: [float(f"{x:.7g}") for x in value.grad.flatten().tolist()] for key, value in trained.items() if value.grad is not None}
        rows.append({"ids": text, "prompt": prompt, "label": label, "loss": loss.item(), "gradients": gradients})
    said = None
    if decoder:
        prompt = texts[2]
        out = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
        said = out[0, len(prompt):].tolist()
    return {"rows": rows, "said": said}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, (config, dtype, shard)) in enumerate(FAMILIES.items()):
        torch.manual_seed(seed)
        model = model_of(config)
        randomize(model, dtype)
        texts = [torch.randint(3, VOCAB, (length,)).tolist() for length in LENGTHS]
        expected = logits(model, texts)
        decoder = expected[0].dim() == 2
        padded = left_padded(model, texts) if decoder else []
        folder = OUT / name
        # A copy: rotary frequencies would be rounded too.
        copy.deepcopy(model).to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
        rounded = lambda rows: [[float(f"{x:.8g}") for x in row.flatten().tolist()] for row in rows]
        (folder / "expected.json").write_text(json.dumps({
            "torch": torch.__version__, "transformers": transformers.__version__,
            "texts": texts, "logits": rounded(expected), "left_padded": rounded(padded),
        }))
        again = copy.deepcopy(model)
        versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
        (folder / "adapted.json").write_text(json.dumps(versions | adapted(name, model, texts, folder)))
        if name in OWN:
            (folder / "own.json").write_text(json.dumps(versions | adapted(name, copy.deepcopy(again), texts, folder, "own")))
        if name in BIASES:
            (folder / "bias.json").write_text(json.dumps(versions | adapted(name, copy.deepcopy(again), texts, folder, "bias")))
        if name in ALL:
            (folder / "all.json").write_text(json.dumps(versions | adapted(name, again, texts, folder, "all")))
        size = sum(file.stat().st_size for file in folder.rglob('*'))
        print(f"{name:14} {size:7} bytes, largest |logit| {max(row.abs().max() for row in expected):.2f}")


if __name__ == "__main__":
    main()
