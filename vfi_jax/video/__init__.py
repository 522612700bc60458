"""Whole videos: decoding with exact times and colors, interpolating, encoding, copying the other streams."""
