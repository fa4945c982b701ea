"""Published networks: torchvision's and timm's, with their weights, own ones or random ones."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from explgraph.errors import NetworkError, UsageError
from explgraph.network.network import InputSpec, Network
from explgraph.network.weights import (
    NoInitialisation,
    State,
    fitting_classes,
    load_state,
    read_state,
    seeded,
)

_CPU = torch.device("cpu")
_TWO_HEADED = ("googlenet", "inception_v3")  # the torchvision networks with auxiliary classifiers


def suggest(name: str, known: list[str]) -> str:
    """The end of an error message: which known names are close.

    >>> suggest("vgg1", ["vgg16", "resnet18"])
    '; did you mean vgg16?'
    """
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _built_for(
    build: Callable[..., nn.Module], state: State, name: str, source: str
) -> tuple[nn.Module, bool]:
    """The model with ``state`` loaded and its number of classes; whether that is the usual one."""
    with NoInitialisation():
        model = build()  # only a built model tells its usual number of classes
        classes = fitting_classes(model, state)
        if classes is not None:
            model = build(num_classes=classes)
    return load_state(model, state, model_name=name, source=source), classes is None


# torchvision


def load_torchvision(spec: str, weights: str | None, seed: int) -> Network:
    """A network of torchvision; see `explgraph.network.load_network`.

    A detector is its backbone, as what follows depends on the boxes that it proposes.
    """
    from torchvision import models

    name = spec.partition(":")[2]
    _check_name(name)
    entries, build = models.get_model_weights(name), _builder(name)
    default = getattr(entries, "DEFAULT", None)
    if weights == "none":
        with seeded(seed):
            model = build(weights=None, **_options(name))
        # The outputs of random weights mean nothing: no classes.
        return _of_torchvision(model, spec, "none", default, None)
    entry = default if weights is None else entries.__members__.get(weights)
    if entry is not None:
        model = _published(name, build, entry)
        return _of_torchvision(model, spec, entry.name, entry, _categories(entry))
    if weights is None:
        raise NetworkError(
            f"torchvision publishes no weights of {name}; pass --weights FILE or --weights none"
        )
    if not os.path.isfile(weights):
        choices = ", ".join(entries.__members__)
        raise NetworkError(
            f"weights of {name} must be a file or one of {choices}, none; got {weights!r}"
        )
    state = read_state(Path(weights))
    if name in models.list_models(module=models.detection):  # whatever the classes of its boxes
        state = {key: value for key, value in state.items() if key.startswith("backbone.")}
    build = partial(build, weights=None, **_options(name, state))
    model, usual_classes = _built_for(build, state, name, weights)
    if name in _TWO_HEADED:
        # As torchvision does for the published weights, from which others are tuned.
        vars(model)["transform_input"] = True
    # A file that has kept its published name is that entry: its input size and classes are known.
    entry = next((x for x in entries if Path(x.url).name == Path(weights).name), default)
    classes = _categories(entry) if usual_classes else None
    return _of_torchvision(model, spec, weights, entry, classes)


def _check_name(name: str) -> None:
    """Refuse what is no network of single images.

    Raises:
        UsageError: torchvision has it not, or it takes something else.
    """
    from torchvision import models

    known = models.list_models(module=models)
    known += models.list_models(module=models.segmentation)
    known += models.list_models(module=models.detection)
    if name in known:
        return
    if name in models.list_models(module=models.video):
        raise UsageError(f"{name} takes clips (n, 3, frames, height, width), no single images")
    if name in models.list_models(module=models.optical_flow):
        raise UsageError(
            f"{name} takes pairs of images; a factory may bind one, see explgraph.wrap"
        )
    if name in models.list_models(module=models.quantization):
        raise UsageError(
            f"{name} has quantised layers, which have no gradients; "
            f"take {name.removeprefix('quantized_')}"
        )
    hint = suggest(name, known) or "; a network of your own is named package.module:NAME"
    raise UsageError(f"torchvision has no network {name!r}{hint}")


class _Backbone(nn.Module):
    """What of a detector comes before it proposes boxes; its layers keep their names."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.transform = detector.backbone, detector.transform

    def forward(self, images: Tensor) -> Any:
        return self.get_submodule("backbone")(images)


def _builder(name: str) -> Callable[..., nn.Module]:
    from torchvision import models

    build: Callable[..., nn.Module] = models.get_model_builder(name)
    if name in models.list_models(module=models.detection):
        return lambda **options: _Backbone(build(**options))
    return build


def _of_torchvision(
    model: nn.Module, spec: str, weights: str, entry: Any, classes: tuple[str, ...] | None
) -> Network:
    transform: Any = getattr(model, "transform", None)  # of a detector, which scales by itself
    if transform is None:
        # Scores of every pixel are no scores of classes.
        classes = None if hasattr(model, "backbone") else classes
        return Network(model, spec, weights, _torchvision_input(entry), classes, _CPU)
    width, height = transform.fixed_size or (min(transform.min_size),) * 2
    mean, std = tuple(transform.image_mean), tuple(transform.image_std)
    shown = InputSpec(height, width, mean, std)
    return Network(model, spec, weights, shown, None, _CPU)


def _options(name: str, state: State | None = None) -> dict[str, Any]:
    """What GoogLeNet and Inception need to be told: about warnings and their auxiliary heads.

    And segmentation networks: about theirs, and that no weights are to be downloaded.
    """
    from torchvision import models

    if name in models.list_models(module=models.detection):
        return {"weights_backbone": None}
    if name in models.list_models(module=models.segmentation):
        aux = state is not None and any(key.startswith("aux_classifier") for key in state)
        options = {"weights_backbone": None}
        return options if name.startswith("lraspp") else options | {"aux_loss": aux}
    if name not in _TWO_HEADED:
        return {}
    # The heads are not used, but a state dict that holds them fits only a model that has them.
    aux = state is None or any("aux" in key.lower() for key in state)
    return {"init_weights": state is None, "aux_logits": aux}


def _published(name: str, build: Callable[..., nn.Module], entry: Any) -> nn.Module:
    try:
        with NoInitialisation():
            return build(weights=entry)
    except (OSError, RuntimeError) as error:  # no connection; a wrong hash
        raise NetworkError(
            f"weights {entry.name} of {name} could not be downloaded ({error}); "
            f"fetch {entry.url} and pass --weights FILE"
        ) from error


def _torchvision_input(entry: Any) -> InputSpec:
    if entry is None:
        return InputSpec(224, 224)
    transforms = entry.transforms()
    # Torchvision crops squares; for segmentation it only scales.
    (side, *_) = getattr(transforms, "crop_size", None) or transforms.resize_size
    side = int(side)
    return InputSpec(side, side, tuple(transforms.mean), tuple(transforms.std))


def _categories(entry: Any) -> tuple[str, ...] | None:
    names = None if entry is None else entry.meta.get("categories")
    return None if names is None else tuple(names)


# timm


def load_timm(spec: str, weights: str | None, seed: int) -> Network:
    """A network of timm; see `explgraph.network.load_network`."""
    try:
        import timm
    except ImportError as error:
        message = f"{spec} needs the package timm; pip install 'explgraph[timm]'"
        raise NetworkError(message) from error
    name = spec.partition(":")[2]
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {name!r}{suggest(name, timm.list_models())}")
    has_classes = True
    if weights is None:
        model = _pretrained_timm(timm, name)
        weights = model.pretrained_cfg.get("tag") or "pretrained"
    elif weights == "none":
        has_classes = False
        with seeded(seed):
            model = timm.create_model(name, pretrained=False)
    elif os.path.isfile(weights):
        build = partial(timm.create_model, name, pretrained=False)
        model, has_classes = _built_for(build, read_state(Path(weights)), spec, weights)
    else:
        raise NetworkError(
            f"weights of {spec} must be a file or none, got {weights!r}; "
            "a pretrained tag is part of the name"
        )
    classes = _timm_classes(timm, model) if has_classes else None
    return Network(model, spec, weights, _timm_input(timm, model), classes, _CPU)


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
