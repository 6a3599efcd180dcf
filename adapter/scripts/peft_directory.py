#!/usr/bin/env python3
"""Writes tests/fixtures/peft/: a directory that PEFT itself saved, for a BERT of two tiny layers.

Needs torch, transformers and peft. Element i of a tensor is (i + sum of its name's bytes modulo 97) / 16, exact in 32 bits.
"""

import platform
from pathlib import Path

import peft
import torch
import transformers


def main():
    config = transformers.BertConfig(
        num_hidden_layers=2,
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        vocab_size=11,
        max_position_embeddings=16,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config)
    lora = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = peft.get_peft_model(model, lora)
    state = peft.get_peft_model_state_dict(model)
    for name, tensor in ((name, tensor.data) for name, tensor in state.items()):
        values = (torch.arange(tensor.numel(), dtype=torch.float32) + sum(name.encode()) % 97) / 16
        tensor.copy_(values.reshape(tensor.shape))
    directory = Path(__file__).parent.parent / "tests/fixtures/peft"
    model.save_pretrained(directory)
    (directory / "README.md").write_text(
        f"Written by adapter/scripts/peft_directory.py with Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, peft {peft.__version__}.\n"
    )


if __name__ == "__main__":
    main()
