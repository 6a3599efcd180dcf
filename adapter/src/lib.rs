//! LoRA adapters without a tensor library: PEFT in and out, applying a sum, server optimizers.
