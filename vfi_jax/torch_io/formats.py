"""Formats of files, by their first bytes: those of weights, and of files that are often downloaded instead."""

from __future__ import annotations

import re

HEAD = 1024  # bytes that tell a format
MAX_HEADER = 100_000_000  # bytes; of safetensors' description of its arrays, as its own library has it

_BLOCK = 512  # bytes of a tar header
_CHECKSUM = slice(148, 156)
_OLDEST_TORCH = (b"sys_info\0", b"pickle\0", b"tensors\0", b"storages\0")
_MAGIC = (
    (b"version https://git-lfs", "a git-lfs pointer; fetch the file that it stands for with `git lfs pull`"),
    (b"Rar!\x1a\x07", "a rar archive; unpack it and give the weights file in it"),
    (b"RE~^", "a rar archive; unpack it and give the weights file in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and give the weights file in it"),
    (b"\x1f\x8b", "a gzip archive; unpack it and give the weights file in it"),
    (b"BZh", "a bzip2 archive; unpack it and give the weights file in it"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it and give the weights file in it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it and give the weights file in it"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (Keras)"),
    (b"\x93NUMPY", "an array of NumPy (.npy)"),
    (b"GGUF", "GGUF (llama.cpp)"),
    (b"7767517", "a network of ncnn"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska)"),
    (b"\x7fELF", "a program"),
)


def is_zip(head: bytes) -> bool:
    """Whether a file is a zip archive, as PyTorch's files since 1.6 are."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors does: the length of a description, and a brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER


def known_format(head: bytes) -> str:
    """Returns in words what a file is that holds no weights by the magic bytes at its beginning; "" if unknown."""
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body|\?xml|script)", head, re.IGNORECASE):
        return "a web page; open the address in a browser, and download the file itself"
    if head[4:8] == b"ftyp":
        return "a video (MP4)"
    if head[4:8] == b"TFL3":
        return "a network of TensorFlow Lite"
    if re.match(rb"\x08[\x01-\x20]\x12.{1,2}(pytorch|tf2onnx|onnx)", head, re.DOTALL):
        return "a network of ONNX"
    if not _is_tar(head):
        return ""
    if head.startswith(_OLDEST_TORCH):
        return "PyTorch's oldest format (a tar archive); load it with PyTorch and save it again"
    return "a tar archive; unpack it and give the weights file in it"


def likely_format(head: bytes) -> str:
    """Returns in words what bytes look like that are neither weights nor of a known format; "" if like nothing."""
    if not head.strip(b"\0"):
        return "zeros (a download that was broken off, perhaps)"
    if re.match(rb'(\xef\xbb\xbf)?\s*[\[{]\s*["\[{\]}\d]', head):
        return "JSON"
    if not re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\xff]", head):
        return "text"
    return ""


def _is_tar(head: bytes) -> bool:
    """By the checksum of the first header: the oldest tar archives have no magic bytes."""
    block = head[:_BLOCK]
    if len(block) < _BLOCK or not re.fullmatch(rb"[ 0]*[0-7]+[ \0]*", block[_CHECKSUM]):
        return False
    blank = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    return sum(blank) == int(block[_CHECKSUM].strip(b" \0"), 8)
