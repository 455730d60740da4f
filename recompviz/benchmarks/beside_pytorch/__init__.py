"""Plans under a budget beside PyTorch's own activation memory budget, on a Llama of 32 layers and on a BERT."""
