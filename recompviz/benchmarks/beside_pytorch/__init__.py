"""Compare plans of recompviz with PyTorch's activation memory budget, on a Llama of 32 layers and on a BERT."""
