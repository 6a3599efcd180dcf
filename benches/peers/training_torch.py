#!/usr/bin/env python3
"""PyTorch's side of benches/training: the same steps as lora/examples/train_step.rs, by transformers, peft and opacus.

    training_torch.py MODEL_DIR lora|ffa|per-example BATCH LENGTH [DEVICE]

It prints `ready`, for each line that comes in the milliseconds of a step, and at the end the most memory that it had, in MiB: of the process, or on a
GPU of the card. On a GPU the base model is in bf16. `training_torch.py --make minilm|smollm2-135m|llama-1b DIR` writes a model of that shape with random weights.
"""

import resource
import sys
import time

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

LABELS = 21
SHAPES = {
    "minilm": transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, max_position_embeddings=512,
    ),
    "smollm2-135m": transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
        max_position_embeddings=8192, rope_theta=100000.0, rms_norm_eps=1e-5, tie_word_embeddings=True,
    ),
    "llama-1b": transformers.LlamaConfig(
        vocab_size=32000, hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192,
        max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=True,
    ),
}


class Classifier(nn.Module):
    """A sentence's mean hidden state, of norm 1, and a linear head."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, LABELS)

    def forward(self, ids, mask):
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return self.head(nn.functional.normalize(mean, dim=1))


class Language(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, ids, mask):
        return self.decoder(input_ids=ids, attention_mask=mask, use_cache=False).logits


def build(directory, mode, device):
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    config = transformers.AutoConfig.from_pretrained(directory)
    decoder = config.model_type == "llama"
    targets = ["q_proj", "v_proj"] if decoder else ["query", "value"]
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=targets)
    if decoder:
        base = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
        model = Language(get_peft_model(base, lora))
    else:
        base = transformers.AutoModel.from_pretrained(directory, dtype=dtype, add_pooling_layer=False)
        model = Classifier(get_peft_model(base, lora))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad = mode == "lora" or "lora_B" in name
    model.train()
    return model.to(device), decoder


def losses(model, decoder, ids, mask, labels):
    """One loss an example."""
    logits = model(ids, mask).float()
    if not decoder:
        return nn.functional.cross_entropy(logits, labels, reduction="none")
    each = nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return each.mean(1)


def main():
    if sys.argv[1] == "--make":
        config = SHAPES[sys.argv[2]]
        torch.manual_seed(0)
        auto = transformers.AutoModel if config.model_type == "bert" else transformers.AutoModelForCausalLM
        auto.from_config(config).save_pretrained(sys.argv[3])
        return
    directory, mode, batch, length, *rest = sys.argv[1:]
    batch, length, device = int(batch), int(length), (rest or ["cpu"])[0]
    model, decoder = build(directory, mode, device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    if mode == "per-example":
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        model = GradSampleModule(model, strict=False)
        optimizer = DPOptimizer(optimizer, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=batch)
    ids = torch.tensor([[1000 + (i * 31 + t * 17) % 20_000 for t in range(length)] for i in range(batch)], device=device)
    mask = torch.ones_like(ids)
    labels = torch.tensor([i % LABELS for i in range(batch)], device=device)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        losses(model, decoder, ids, mask, labels).mean().backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        print((time.perf_counter() - start) * 1e3, flush=True)
    if device == "cpu":
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
    else:
        print(torch.cuda.max_memory_allocated() / (1 << 20), flush=True)


if __name__ == "__main__":
    main()
