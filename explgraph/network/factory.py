"""A network of one's own, named ``package.module:NAME``: a function that returns it, or itself."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network.network import Network
from explgraph.network.weights import load_state, read_state, seeded
from explgraph.network.wrap import check_module, declared_classes, declared_input
from explgraph.network.zoo import suggest

_NO_SCRIPT = "name a function that returns a module, in a file that runs no program of its own"


def load_factory(spec: str, weights: str | None, seed: int) -> Network:
    """The module that is named, or that a factory returns; see `explgraph.network.load_network`."""
    with _current_directory_importable(), seeded(seed):
        found = _find(spec)
        try:
            # A copy of a module: random weights and evaluation mode are not to change the owner's.
            model = copy.deepcopy(found) if isinstance(found, nn.Module) else found()
        except SystemExit as error:  # which is no Exception, and would end the program
            raise NetworkError(f"{spec} called sys.exit; {_NO_SCRIPT}") from error
        except Exception as error:  # foreign code
            raise NetworkError(f"{spec} failed: {type(error).__name__}: {error}") from error
        # With `explgraph.wrap` it says more than a module can: classes, inputs that are bound.
        wrapped = model if isinstance(model, Network) else None
        model = model if wrapped is None else wrapped.model
        if not isinstance(model, nn.Module):
            raise NetworkError(f"{spec} must return a torch.nn.Module, got {type(model).__name__}")
        check_module(model, spec)
        if weights == "none":
            _reset(model)
    if weights not in (None, "none"):
        load_state(model, read_state(Path(weights)), model_name=spec, source=weights)
    if wrapped is not None:
        return replace(wrapped, spec=spec, weights=weights)
    shown, classes = declared_input(model, spec), declared_classes(model)
    return Network(model, spec, weights, shown, classes, torch.device("cpu"))


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = os.getcwd()  # `python -m explgraph` finds modules here, the installed command does not
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _find(spec: str) -> Callable[[], Any] | nn.Module:
    module_name, _, name = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:  # ValueError: an empty name
        raise UsageError(
            f"{spec!r} is not a network: {error}; expected torchvision:NAME, timm:NAME or "
            "package.module:NAME, importable from here or from the current directory"
        ) from error
    except SystemExit as error:
        raise NetworkError(f"importing {module_name} called sys.exit; {_NO_SCRIPT}") from error
    except Exception as error:  # foreign code
        message = f"importing {module_name} failed: {type(error).__name__}: {error}"
        raise NetworkError(message) from error
    found: Callable[[], Any] | nn.Module | None = getattr(module, name, None)
    if not callable(found):
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        hint = suggest(name, [key for key, value in public.items() if callable(value)])
        raise UsageError(
            f"{module_name} has no {name!r}; expected a module or a function that returns one{hint}"
        )
    return found


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        # As torch's own layers call what draws their values; others keep the factory's.
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            try:
                reset()
            except Exception as error:  # e.g. torch has no random numbers of eight bits
                kind = type(module).__name__
                raise NetworkError(
                    f"random weights cannot be drawn for a {kind}: {error}; name its weights"
                ) from error
