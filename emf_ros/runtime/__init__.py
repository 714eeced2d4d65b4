"""Runs networks: device policy and fallback, batches, sessions of onnxruntime."""
