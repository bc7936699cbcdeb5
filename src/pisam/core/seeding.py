"""One way to make a seed, so that randomness depends on names, never on workers, ranks or restarts."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of `parts`, e.g. (run seed, epoch, sample id, "clicks").

    Python's own `hash` is salted per process, so a digest is used.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    data = text.encode("utf-8", "surrogateescape")  # names of files may be of any bytes
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1
