"""Files, and hostile ones made from them: edits, and CRCs made right again so that an edit gets past them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from struct import Struct, error
from typing import NamedTuple

from pillow_cwic.file import container

START = 16  # of the first chunk
_LENGTH = Struct(">I")


class Chunk(NamedTuple):
    """Where a chunk lies in its file: its length field, and its payload."""

    kind: bytes
    at: int
    start: int
    end: int


def chunks(data: bytes | bytearray) -> Iterator[Chunk]:
    """The chunks of a file, as far as they can be followed."""
    at = START
    while at + 12 <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if length > len(data) - at - 12:
            return
        yield Chunk(bytes(data[at + 4 : at + 8]), at, at + 8, at + 8 + length)
        at += 12 + length


def resigned(data: bytes | bytearray) -> bytes:
    """The file with the CRC of every chunk made right."""
    signed = bytearray(data)
    for chunk in chunks(data):
        _LENGTH.pack_into(signed, chunk.end, zlib.crc32(signed[chunk.at + 4 : chunk.end]))
    return bytes(signed)


def streams(data: bytes) -> tuple[int, int]:
    """Where the entropy-coded bytes of a sound file begin and end: those of CODE behind its table."""
    code = next(chunk for chunk in chunks(data) if chunk.kind == b"CODE")
    return code.end - sum(len(layer.data) for layer in container.read_file(data).layers), code.end


def edited(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four random edits: flips, bytes, runs that are lost, added, moved or zeroed, an end cut off, a splice."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        size = len(made)
        if size == 0:
            break
        at, run = rng.randrange(size), 1 + min(rng.randrange(1, 64), rng.randrange(1, 64))
        kind = rng.randrange(9)
        if kind <= 1:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            made[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 3:
            del made[at : at + run]
        elif kind == 4:
            made[at:at] = rng.randbytes(run)
        elif kind == 5:
            to = rng.randrange(size)
            made[to : to + run] = made[at : at + run]
        elif kind == 6:
            made[at : at + run] = bytes(min(run, size - at))
        elif kind == 7 and rng.random() < 0.3:
            del made[at:]
        else:
            other = rng.choice(others)
            begin = rng.randrange(len(other))
            made[at : at + run] = other[begin : begin + run]
    return bytes(made)


def hostile(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Edits of a file whose CRCs, lengths too in most cases, are made right: what an attacker would send."""
    parts = list(chunks(data))
    if not parts or rng.random() < 0.2:
        return resigned(edited(rng, data, others))
    made = bytearray(data[:START])
    chosen = rng.randrange(len(parts))
    payloads = [(part.kind, data[part.start : part.end]) for part in parts]
    kind, payload = payloads[chosen]
    payloads[chosen] = kind, edited(rng, payload, [other[START:] for other in others]) if payload else b"\0"
    if rng.random() < 0.1:
        rng.shuffle(payloads)
    elif rng.random() < 0.1:
        payloads.insert(chosen, rng.choice(payloads))
    elif rng.random() < 0.1:
        payloads[chosen] = (
            rng.choice((b"zzZz", b"ALPH", b"eXIf", b"CODE", b"POST", b"PIXL", b"Zzzz")),
            payloads[chosen][1],
        )
    for kind, payload in payloads:
        made += container._chunk(kind, payload)
    made += data[parts[-1].end + 4 :]
    return bytes(made)


def of_model(data: bytes, model_id: bytes, family: bytes) -> bytes:
    """The file, its CRCs made right, as one of another model, so that it gets as far as that model's decoder."""
    made = bytearray(data)
    try:
        made[10:14] = family
        head = next(chunk for chunk in chunks(data) if chunk.kind == b"HEAD")
        made[head.start + 12 : head.start + 18] = model_id
    except (StopIteration, error):
        return data
    return resigned(made)
