"""Weights files that are not what a network needs, each made by a seed."""

import io
import json
import pickle
import random
import struct
import zipfile
from collections import OrderedDict

import torch
from builders.tiny_network import make
from safetensors.torch import save
from torch import nn

KEYS = (
    "", "features.0.weight", "model", "state_dict", "module.", "module.features.0.bias", "\0",
    "\x1b[2J", "\ud800", "a\nb", "é" * 90, "x" * 3000, "classifier", 0, 1.5, None, True, ("a", 1),
    b"features.0.weight",
)  # fmt: skip
TYPES = (
    torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
    torch.complex64, torch.float8_e4m3fn, torch.int8,
)  # fmt: skip
SHAPES = ((), (0,), (1,), (3, 0, 2), (8, 3, 5, 5), (10, 12, 3, 3), (8,), (2**31,), (1, 1, 1, 1, 1))


def value(rng):
    """A tensor, or what stands in a tensor's place."""
    shape = rng.choice(SHAPES)
    plain = torch.zeros(()).expand(shape)  # takes no memory, whatever the shape
    number = rng.choice((float("nan"), float("inf"), 1e38, 0.0, -1.0))
    return rng.choice((
        lambda: plain, lambda: torch.zeros((), dtype=rng.choice(TYPES)).expand(shape),
        lambda: torch.full((8,), number), lambda: torch.zeros(8, 3, 5, 5).transpose(0, 1),
        lambda: torch.zeros(10, 12, 3, 3).to_sparse(), lambda: torch.zeros(3, device="meta"),
        lambda: nn.Parameter(torch.zeros(8)), lambda: torch.zeros(16)[::2],
        lambda: {"a": torch.zeros(3)}, lambda: {}, lambda: [torch.zeros(3)], lambda: None,
        lambda: 3, lambda: "text", lambda: torch.Size([1, 2]), lambda: torch.float32,
        lambda: torch.device("cpu"), lambda: OrderedDict(a=torch.zeros(2)),
    ))()  # fmt: skip


def state(rng):
    """A state dict with a few changes, perhaps within containers."""
    content = dict(make().state_dict())
    for _ in range(rng.randrange(1, 4)):
        key = rng.choice(sorted(content, key=str))
        how = rng.choice(("value", "value", "value", "key", "drop", "rename"))
        if how == "value":
            content[key] = value(rng)
        elif how == "key":
            content[rng.choice(KEYS)] = value(rng)
        elif how == "drop" and len(content) > 1:
            del content[key]
        else:
            content[rng.choice(KEYS)] = content.pop(key)
    for _ in range(rng.choice((0, 0, 1, 2, 12))):
        content = {rng.choice(("state_dict", "model", "model_state_dict", "other")): content}
    return content


def broken_weights(seed, folder):
    """A file, and how it came about in words."""
    rng = random.Random(f"weights {seed}")
    how = rng.choice((_torch, _torch, _torch, _bytes, _bytes, _zip, _safetensors, _header, _other))
    file = folder / f"weights{'.safetensors' if how in (_safetensors, _header) else '.pth'}"
    file.write_bytes(how(rng))
    return file, f"{seed}: {how.__name__[1:]}"


def _saved(content, *, new=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def _torch(rng):
    return _saved(state(rng), new=rng.random() < 0.8)


def _bytes(rng):
    """Bytes of a sound file flipped, cut or mixed with others."""
    whole = (_saved(make().state_dict()), save(make().state_dict()), _saved({}, new=False))
    content = bytearray(rng.choice(whole))
    for _ in range(rng.choice((1, 5, 60))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.4:
        del content[rng.randrange(len(content)) :]
    return bytes(content)


def _zip(rng):
    """The archive with an entry gone, doubled, emptied or larger than it says."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved(make().state_dict()))) as whole,
        zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as other,
    ):
        names = whole.namelist()
        odd = rng.choice(names)
        for name in names:
            content = whole.read(name)
            if name == odd:
                content = rng.choice((b"", content[:5], bytes(len(content)), rng.randbytes(99)))
                if rng.random() < 0.3:
                    continue
            other.writestr(rng.choice((name, "../" + name, name)), content)
        if rng.random() < 0.3:
            other.writestr("bomb", bytes(90_000_000))
    return out.getvalue()


def _safetensors(rng):
    """What safetensors would not write: changed bytes behind a sound header."""
    content = bytearray(save(make().state_dict()))
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    key = rng.choice(sorted(header))
    entry = header[key]
    if isinstance(entry, dict) and "shape" in entry:
        field = rng.choice(sorted(entry))
        entry[field] = rng.choice(([], [0], [-1], [2**63], "F64", "Q9", None, [0, 2**62], [9, 3]))
    else:
        header[rng.choice([one for one in KEYS if isinstance(one, str)])] = entry
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _header(rng):
    length = rng.choice((0, 1, 2**32, 2**63, 2**64 - 1, 100))
    return struct.pack("<Q", length) + rng.choice((b"", b"{}", b"[" * 5000, rng.randbytes(100)))


class _Runs:
    def __reduce__(self):
        return exec, ("raise SystemExit('pickled code ran')",)


def _other(rng):
    return rng.choice((
        lambda: _saved(make()), lambda: _saved(None), lambda: _saved(torch.zeros(3)),
        lambda: _saved([1]), lambda: pickle.dumps(_Runs()), lambda: pickle.dumps({"a": 1}),
        lambda: b"version https://git-lfs.github.com/spec/v1\n", lambda: b"", lambda: b"\x80",
        lambda: rng.randbytes(300), lambda: b"PK\x03\x04" + rng.randbytes(200),
        lambda: b"\x80\x02" + b"(" * 3000 + b".", lambda: b"\x80\x04]" + b"2" * 60 + b".",
        lambda: b"<html>not found</html>", lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
    ))()  # fmt: skip
