//! Models on burn: load a Hugging Face checkpoint, attach LoRA, train with per-example gradients, evaluate.
