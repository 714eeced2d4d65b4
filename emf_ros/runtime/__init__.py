"""What runs the networks, and where: devices, fallback, sessions of onnxruntime."""
