"""The real runtime: the same effects over threads, ZeroMQ and torch.distributed. Imports core."""
