"""A network from its spec: torchvision, timm, or one's own factory, with published, own or random weights."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network.network import InputSpec, Network
from explgraph.network.weights import (
    NoInitialisation,
    State,
    fitting_classes,
    load_state,
    read_state,
)

_RANDOM = ("none", "random")
_TWO_HEADED = ("googlenet", "inception_v3")  # the torchvision networks with auxiliary classifiers
_Loaded = tuple[nn.Module, str | None, InputSpec, tuple[str, ...] | None]


def load_network(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    input_size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Network:
    """Return the network that ``spec`` names, in evaluation mode and without gradients for its parameters.

    Args:
        spec: ``torchvision:NAME`` or just ``NAME``, ``timm:NAME``, or ``package.module:factory`` (the current directory is
            searched too). A factory takes no argument and returns a module, whose attributes ``input_size`` (height, width),
            ``input_mean``, ``input_std`` (of 0..1) and ``classes`` are honoured; without them: 224 x 224 pixels and ImageNet's.
        weights: a file (.pth, .pt, .safetensors) with a state dict; or an entry of torchvision's weights enum
            (``IMAGENET1K_V1``, ``DEFAULT``); or ``"none"`` (same as ``"random"``) for random ones from ``seed``. By default the
            enum's default, which torchvision downloads; timm's pretrained ones; the factory's own.
        device: ``"auto"`` takes cuda, else mps, else the CPU.
        input_size: (height, width) or side in pixels, instead of the network's own.
        seed: of random weights.

    Raises:
        UsageError: the spec, the device or the size makes no sense.
        NetworkError: the model cannot be built, or its weights are unreachable or do not fit.
    """
    chosen = _device(device)
    spec = spec if ":" in spec else f"torchvision:{spec}"
    scheme, _, name = spec.partition(":")
    wanted = os.fspath(weights) if weights is not None else None
    if wanted in _RANDOM:
        wanted = "none"
    loaders = {"torchvision": _load_torchvision, "timm": _load_timm}
    model, used, input_spec, classes = (
        loaders[scheme](name, wanted, seed)
        if scheme in loaders
        else _load_factory(spec, wanted, seed)
    )
    model.to(chosen).eval().requires_grad_(False)
    return Network(model, spec, used, _resized(input_spec, input_size), classes, chosen)


def _device(device: str | torch.device) -> torch.device:
    available = (
        ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    )
    if device == "auto":
        return torch.device(available[0])
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            f"device must be auto, cpu, cuda, cuda:N or mps, got {device!r}"
        ) from error
    if chosen.type in ("cuda", "mps") and chosen.type not in available:
        raise UsageError(
            f"device {str(device)!r} is not available here; use {' or '.join(available)}"
        )
    return chosen


def _resized(spec: InputSpec, size: int | tuple[int, int] | None) -> InputSpec:
    if size is None:
        return spec
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UsageError(f"input size must be positive (height, width), got {height} x {width}")
    return InputSpec(height, width, spec.mean, spec.std)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


# torchvision -----------------------------------------------------------------------------------------------------------


def _load_torchvision(name: str, weights: str | None, seed: int) -> _Loaded:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        hint = _suggest(name, known) or "; a network of your own is named package.module:factory"
        raise UsageError(f"torchvision has no classification network {name!r}{hint}")
    entries = models.get_model_weights(name)
    builder = models.get_model_builder(name)
    default = getattr(entries, "DEFAULT", None)
    if weights == "none":
        with _seeded(seed):
            model = builder(weights=None, **_torchvision_options(name))
        return model, "none", _torchvision_input(default), None
    entry = default if weights is None else entries.__members__.get(weights)
    if entry is None and weights is None:
        raise NetworkError(
            f"torchvision publishes no weights of {name}; pass --weights FILE or --weights none"
        )
    if entry is not None:
        return (
            _published(name, builder, entry),
            entry.name,
            _torchvision_input(entry),
            _categories(entry),
        )
    assert weights is not None
    if not Path(weights).is_file():
        choices = ", ".join(entries.__members__)
        raise NetworkError(
            f"weights of {name} must be a file or one of {choices}, none; got {weights!r}"
        )
    state = read_state(Path(weights))
    build = lambda **options: builder(weights=None, **_torchvision_options(name, state), **options)
    model, usual_classes = _built_for(build, state, name, weights)
    if name in _TWO_HEADED:
        vars(model)["transform_input"] = (
            True  # as torchvision does for the published weights, from which others are tuned
        )
    entry = next((x for x in entries if Path(x.url).name == Path(weights).name), default)
    return model, weights, _torchvision_input(entry), _categories(entry) if usual_classes else None


def _torchvision_options(name: str, state: State | None = None) -> dict[str, Any]:
    """Return what GoogLeNet and Inception need to be told: to warn of nothing, and whether there are auxiliary heads."""
    if name not in _TWO_HEADED:
        return {}
    return {
        "init_weights": state is None,
        "aux_logits": state is None or any("aux" in key.lower() for key in state),
    }


def _published(name: str, builder: Callable[..., nn.Module], entry: Any) -> nn.Module:
    try:
        with NoInitialisation():
            return builder(weights=entry)
    except (
        OSError,
        RuntimeError,
    ) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise NetworkError(
            f"weights {entry.name} of {name} could not be downloaded ({error}); fetch {entry.url} and pass --weights FILE"
        ) from error


def _built_for(
    build: Callable[..., nn.Module], state: State, name: str, source: str
) -> tuple[nn.Module, bool]:
    """Return the model with ``state`` loaded, built for its number of classes, and whether that is the usual number."""
    with NoInitialisation():
        model = build()
        classes = fitting_classes(model, state)
        if classes is not None:
            model = build(num_classes=classes)
    return load_state(model, state, model_name=name, source=source), classes is None


def _torchvision_input(entry: Any) -> InputSpec:
    if entry is None:
        return InputSpec(224, 224)
    transforms = entry.transforms()
    side = int(transforms.crop_size[0])  # torchvision crops squares
    return InputSpec(side, side, tuple(transforms.mean), tuple(transforms.std))


def _categories(entry: Any) -> tuple[str, ...] | None:
    return (
        tuple(entry.meta["categories"])
        if entry is not None and "categories" in entry.meta
        else None
    )


# timm ------------------------------------------------------------------------------------------------------------------


def _load_timm(name: str, weights: str | None, seed: int) -> _Loaded:
    try:
        import timm
    except ImportError as error:
        raise NetworkError(
            f"timm:{name} needs the package timm; pip install 'explgraph[timm]'"
        ) from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {name!r}{_suggest(name, timm.list_models())}")
    if weights is None:
        model = _pretrained_timm(timm, name)
        return (
            model,
            model.pretrained_cfg.get("tag") or "pretrained",
            _timm_input(timm, model),
            _timm_classes(timm, model),
        )
    if weights == "none":
        with _seeded(seed):
            model = timm.create_model(name, pretrained=False)
        return model, "none", _timm_input(timm, model), None
    if not Path(weights).is_file():
        raise NetworkError(
            f"weights of timm:{name} must be a file or none, got {weights!r}; a pretrained tag is part of the name"
        )
    build = lambda **options: timm.create_model(name, pretrained=False, **options)
    model, usual_classes = _built_for(build, read_state(Path(weights)), f"timm:{name}", weights)
    return (
        model,
        weights,
        _timm_input(timm, model),
        _timm_classes(timm, model) if usual_classes else None,
    )


def _pretrained_timm(timm: Any, name: str) -> Any:
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise NetworkError(
            f"pretrained weights of timm:{name} could not be had: {error}; pass --weights FILE"
        ) from error


def _timm_input(timm: Any, model: nn.Module) -> InputSpec:
    config = timm.data.resolve_model_data_config(model)
    _, height, width = config["input_size"]
    return InputSpec(height, width, tuple(config["mean"]), tuple(config["std"]))


def _timm_classes(timm: Any, model: nn.Module) -> tuple[str, ...] | None:
    subset = timm.data.infer_imagenet_subset(model)
    if not subset:
        return None
    info = timm.data.ImageNetInfo(subset)
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


# one's own factory -----------------------------------------------------------------------------------------------------


def _load_factory(spec: str, weights: str | None, seed: int) -> _Loaded:
    with _current_directory_importable(), _seeded(seed):
        factory = _find_factory(spec)
        try:
            model = factory()
        except Exception as error:  # foreign code
            raise NetworkError(f"{spec} failed: {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise NetworkError(f"{spec} must return a torch.nn.Module, got {type(model).__name__}")
        if weights == "none":
            _reset(model)
    if weights not in (None, "none"):
        load_state(model, read_state(Path(weights)), model_name=spec, source=weights)
    return (
        model,
        weights,
        _factory_input(model, spec),
        tuple(map(str, getattr(model, "classes", None) or ())) or None,
    )


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _find_factory(spec: str) -> Callable[[], Any]:
    module_name, _, name = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:  # ValueError: an empty name
        raise UsageError(
            f"{spec!r} is no network: {error}; expected torchvision:NAME, timm:NAME or package.module:factory, "
            "importable from here or from the current directory"
        ) from error
    except Exception as error:  # foreign code
        raise NetworkError(
            f"importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, name, None)
    if not callable(factory) or isinstance(factory, nn.Module):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and not key.startswith("_")
        ]
        raise UsageError(
            f"{module_name} has no factory {name!r} (a function that returns a module){_suggest(name, known)}"
        )
    return factory


def _reset(model: nn.Module) -> None:
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


def _factory_input(model: nn.Module, spec: str) -> InputSpec:
    default = InputSpec(224, 224)
    size = getattr(model, "input_size", default.size)
    try:
        height, width = (size, size) if isinstance(size, int) else map(int, size)
        mean, std = (
            tuple(float(x) for x in getattr(model, key, values))
            for key, values in (("input_mean", default.mean), ("input_std", default.std))
        )
    except (TypeError, ValueError) as error:
        raise NetworkError(
            f"{spec}: input_size must be (height, width), input_mean and input_std three numbers: {error}"
        ) from error
    if len(mean) != 3 or len(std) != 3:
        raise NetworkError(
            f"{spec}: input_mean and input_std must have three values (R, G, B), got {mean} and {std}"
        )
    return InputSpec(height, width, mean, std)
