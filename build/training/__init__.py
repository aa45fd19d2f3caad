"""Room of training: the networks, from a base model to fine-tuned, pruned and distilled ones."""
