#!/usr/bin/env python3
"""Makes lora/tests/fixtures/families: small random checkpoints of every family, and the logits that transformers computes with them.

    python3 lora/scripts/family_fixtures.py

Needs torch and transformers (the versions are written into each expected.json). Between them the checkpoints reach every branch:
fewer key/value heads than heads, a head size that is not hidden over heads, tied and untied embeddings, biases, norms of queries and
keys, every kind of rotary scaling, sliding windows shorter than a text on all and on some layers, weights in three types, several files
with an index. Texts have several lengths; the longest is left-padded into one batch with the others as well.
"""

import json
import pathlib
import shutil

import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "families"
VOCAB = 61
LENGTHS = [1, 3, 7, 12]

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
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
        rounded = lambda rows: [[float(f"{x:.8g}") for x in row.flatten().tolist()] for row in rows]
        (folder / "expected.json").write_text(json.dumps({
            "torch": torch.__version__, "transformers": transformers.__version__,
            "texts": texts, "logits": rounded(expected), "left_padded": rounded(padded),
        }))
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name:14} {size:7} bytes, largest |logit| {max(row.abs().max() for row in expected):.2f}")


if __name__ == "__main__":
    main()
