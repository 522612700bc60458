"""Video files: decoding, encoding, and the encoders and containers there are."""
