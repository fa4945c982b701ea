"""State dicts: read from a file, and fitted to a model or refused with the reason."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from explgraph.errors import NetworkError

State = dict[str, Tensor]

# torch.save does not compress; weights that were zipped again shrink to a half at best. Bombs
# expand a thousandfold. Small files are of small networks, where no limit is needed.
_MOST_EXPANDED = 16
_LEAST_LIMIT = 2**26  # bytes
_DEPTH = 8  # of containers in containers

# Keys under which training programs store the state dict.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
# Published DenseNet files hold names of torchvision < 0.3, with a dot inside the last part
# ("norm.1.weight").
_OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random state from ``seed`` while the context lasts, for random weights."""
    with torch.random.fork_rng(devices=[]):  # models are built on the CPU
        torch.manual_seed(seed)
        yield


class NoInitialisation(TorchFunctionMode):
    """Skips the random initialisation of a model whose weights come from a state dict.

    It takes seconds for VGG-16. Only whole functions of `torch.nn.init` are left out:
    `trunc_normal_` draws until it likes the values.
    """

    _SKIPPED = (nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The tensor itself instead of filling it."""
        kwargs = kwargs or {}
        if func in self._SKIPPED:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def read_state(file: Path) -> State:
    """The state dict in a .safetensors, .pth or .pt file.

    The usual containers (``state_dict``, ``model_state_dict``, ``model``) are taken off. Pickled
    code is never run.

    Raises:
        NetworkError: the file is missing or broken, holds something else, or expands far beyond
            its size.
    """
    if not os.path.isfile(file):  # unlike Path.is_file no error for a name that is too long
        raise NetworkError(f"weights file {file} does not exist; check the path")
    content = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    # Containers may stand in each other; one that holds itself can be pickled too.
    for _ in range(_DEPTH):
        content = inner if (inner := _inner(content)) is not None else content
    if not _is_state(content):
        raise NetworkError(
            f"{file} must hold a state dict (names and tensors), got {_describe(content)}; "
            "save model.state_dict()"
        )
    for name, value in content.items():
        if (problem := unusable(value)) is not None:
            raise NetworkError(f"{file}: {name!a} {problem}")
    # A view of a few numbers, repeated, takes no place in the file, but all of it as a parameter.
    _check_size(file, sum(value.numel() * value.element_size() for value in content.values()))
    return {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in content.items()}


def _inner(content: Any) -> Mapping[str, Any] | None:
    found = (content.get(key) for key in _CONTAINERS) if isinstance(content, Mapping) else ()
    return next((value for value in found if isinstance(value, Mapping)), None)


def _is_state(content: Any) -> bool:
    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def unusable(value: Tensor) -> str | None:
    """Why a tensor cannot be a network's weights, with the remedy; None if it can.

    >>> unusable(torch.zeros(2, device="meta"))
    'has no values (meta device); build the network on the CPU and save it with its weights'
    """
    if is_lazy(value):
        return "has no shape yet (a lazy layer); run the network once on an image first"
    if value.is_meta:
        return (
            "has no values (meta device); build the network on the CPU and save it with its weights"
        )
    if value.layout != torch.strided:
        return f"is sparse ({value.layout}); convert it with to_dense()"
    if value.is_nested:
        return "is a nested tensor; give one tensor for each weight"
    if value.is_quantized:
        return "is quantised; give the network with floating point weights (dequantize())"
    if value.is_complex():
        return "is complex; a network of photographs has real weights"
    return None


def _check_size(file: Path, size: int) -> None:
    """Refuse what takes far more memory than its file: a few bytes can stand for gigabytes."""
    limit = max(_LEAST_LIMIT, _MOST_EXPANDED * file.stat().st_size)
    if size > limit:
        raise NetworkError(
            f"{file} of {file.stat().st_size:,} bytes expands to {size:,}, expected at most "
            f"{limit:,}; save model.state_dict() with torch.save"
        )


def _named_for(model: nn.Module, state: State) -> State:
    """``state`` without what training programs put before all names: ``model.``, ``module.``.

    Lightning, parallel training and wrappers do so. It is taken off as long as no name is one of
    the model's own; if none ever is, ``state`` stays as it was, for the message.
    """
    known, named = model.state_dict().keys(), state
    while not named.keys() & known:
        prefix = f"{next(iter(named), '').partition('.')[0]}."
        if not all(name.startswith(prefix) and name != prefix for name in named) or not named:
            return state
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def load_state(model: nn.Module, state: State, *, model_name: str, source: str) -> nn.Module:
    """``model`` with the values of ``state``; a prefix that all names share is taken off.

    Raises:
        NetworkError: names or shapes differ; the message says which.
    """
    expected, state = model.state_dict(), _named_for(model, state)
    absent = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    foreign = [k for k in state if k not in expected]
    reshaped = [
        f"{k} {tuple(state[k].shape)} for {tuple(expected[k].shape)}"
        for k in _reshaped(expected, state)
    ]
    problems = {"missing": absent, "unexpected": foreign, "of another shape": reshaped}
    if any(problems.values()):
        listed = "; ".join(_listed(what, items) for what, items in problems.items() if items)
        message = (
            f"{source} does not fit {model_name}: {listed}; give the model that it was saved from"
        )
        raise NetworkError(message)
    # Module versions, which safetensors files lack and MNASNet insists on, came with `expected`.
    versioned = OrderedDict(state)
    vars(versioned)["_metadata"] = getattr(expected, "_metadata", {})
    # Not strict: `num_batches_tracked` may be missing. All else was checked above.
    model.load_state_dict(versioned, strict=False)
    return model


def fitting_classes(model: nn.Module, state: State) -> int | None:
    """The number of classes in ``state`` if that alone keeps it from fitting ``model``.

    It does if all shapes that differ do so in their first axis only, and all by the same two
    numbers. None otherwise.
    """
    expected, state = model.state_dict(), _named_for(model, state)
    pairs = [(expected[k].shape, state[k].shape) for k in _reshaped(expected, state)]
    # One number of classes, in all heads: weight and bias, and auxiliary classifiers.
    numbers = {(usual[:1], found[:1]) for usual, found in pairs}
    if len(numbers) != 1 or any(usual[1:] != found[1:] or not found for usual, found in pairs):
        return None
    return int(pairs[0][1][0])


def _reshaped(expected: State, state: State) -> list[str]:
    return [k for k in expected if k in state and state[k].shape != expected[k].shape]


def _read_safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _read_torch(file: Path) -> Any:
    if zipfile.is_zipfile(file):
        _check_archive(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # on foreign bytes anything from KeyError to UnpicklingError
        if "weights_only" in str(error) or "Weights only load failed" in str(error):
            raise NetworkError(
                f"{file} holds pickled objects (a whole model?), which would run code of unknown "
                "origin when loaded; save model.state_dict() instead"
            ) from error
        raise _unreadable(file, error) from error


def _check_archive(file: Path) -> None:
    """Refuse what expands too far, or has changed since it was written.

    PyTorch does not compare the checksums, and would read other weights (0.2 s for VGG-16's).
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check_size(file, sum(one.file_size for one in archive.infolist()))
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged!a} is wrong")
    # zlib.error is an Exception of its own; NotImplementedError, RuntimeError: other archives.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> NetworkError:
    reason = str(error).splitlines()[0] if str(error) else repr(error)
    return NetworkError(
        f"{file} cannot be read as weights ({reason}); expected a state dict that torch.save or "
        "safetensors wrote: fetch it again, or save it anew"
    )


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = [one if isinstance(one, str) else type(one).__name__ for one in list(content)[:5]]
        return f"a dict of {', '.join(map(_shown, keys)) or 'nothing'}"
    return f"a {type(content).__name__}"


def _listed(what: str, items: list[str]) -> str:
    more = ", ..." if len(items) > 3 else ""
    return f"{len(items)} {what} ({', '.join(map(_shown, items[:3]))}{more})"


def _shown(key: str) -> str:
    """A key as messages show it: those of a file may be of any length and hold any character."""
    key = key if key.isprintable() else ascii(key)
    return key if len(key) <= 80 else f"{key[:77]}..."
