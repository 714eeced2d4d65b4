"""The network: Enhanced Motion Flow in front of TCPFormer. Torch only."""
