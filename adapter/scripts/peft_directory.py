#!/usr/bin/env python3
"""Writes tests/fixtures/peft, peft-roberta and peft-distilbert: directories that PEFT itself saved, each for two tiny layers with the
head of transformers' ...ForSequenceClassification; RoBERTa's with biases beside B and dropout.

Needs torch, transformers and peft. Element i of a tensor is (i + sum of its name's bytes modulo 97) / 16, exact in 32 bits.
"""

import platform
from pathlib import Path

import peft
import torch
import transformers


def save(folder, model, **settings):
    lora = peft.LoraConfig(r=2, lora_alpha=6, task_type="SEQ_CLS", **settings)
    model = peft.get_peft_model(model, lora)
    state = peft.get_peft_model_state_dict(model)
    for name, tensor in ((name, tensor.data) for name, tensor in state.items()):
        values = (torch.arange(tensor.numel(), dtype=torch.float32) + sum(name.encode()) % 97) / 16
        tensor.copy_(values.reshape(tensor.shape))
    directory = Path(__file__).parent.parent / "tests/fixtures" / folder
    model.save_pretrained(directory)
    (directory / "README.md").write_text(
        f"Written by adapter/scripts/peft_directory.py with Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, peft {peft.__version__}.\n"
    )


def main():
    sizes = dict(num_hidden_layers=2, hidden_size=8, intermediate_size=12, num_attention_heads=2)
    texts = dict(vocab_size=11, max_position_embeddings=16, num_labels=3)
    bert = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, **texts))
    save("peft", bert, target_modules=["query", "value"])
    roberta = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**sizes, **texts))
    save("peft-roberta", roberta, target_modules=["query", "output.dense"], lora_bias=True, lora_dropout=0.25)
    distilbert = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(n_layers=2, dim=8, hidden_dim=12, n_heads=2, **texts)
    )
    # PEFT takes every module whose name ends in "classifier".
    save("peft-distilbert", distilbert, target_modules=["q_lin"])


if __name__ == "__main__":
    main()
