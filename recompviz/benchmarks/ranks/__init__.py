"""Training steps on several ranks (processes connected by gloo): predicted and measured memory of each rank."""
