"""Five tasks in four libraries, each as a program that the library's own documentation would write.

A program is the body of a function without its last line, which hands on what was found. What it
needs stands in the parameters: `benchmarks.peers` says what each is. Layers and channels are those
of SqueezeNet 1.0. docs/comparison.md shows some of these programs; a test compares the two.

The programs of Captum follow its tutorials (TorchVision_Interpret) and docstrings, those of
pytorch-grad-cam its README and the tutorial on embeddings, those of torchcam its README.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from inspect import getsource
from textwrap import dedent
from typing import Any

# Task 1: a heat map of each image's class, of the size of the images


def class_explgraph(model, images, classes):
    import explgraph as xg

    found = xg.gradcam(model, images, target=classes, layer="features.12")
    return found


def class_captum(model, images, classes):
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(model, model.features[12])
    cells = method.attribute(images, target=classes, relu_attributions=True)
    maps = LayerAttribution.interpolate(cells, images.shape[2:], "bilinear")[:, 0]
    return maps


def class_pytorch_grad_cam(model, images, classes):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(number) for number in classes]
    with GradCAM(model=model, target_layers=[model.features[12]]) as cam:
        maps = cam(input_tensor=images, targets=targets)
    return maps


def class_torchcam(model, images, classes):
    from torch.nn.functional import interpolate
    from torchcam.methods import GradCAM

    with GradCAM(model, "features.12") as extractor:
        cells = extractor(classes, model(images))[0]
    maps = interpolate(cells[:, None], images.shape[2:], mode="bilinear")[:, 0]
    return maps


# Task 2: what makes channel 7 of a layer active


def pixels_explgraph(model, images):
    import explgraph as xg

    found = xg.saliency(model, images, target=xg.Activation("features.10", 7))
    return found


def pixels_captum(model, images):
    from captum.attr import NeuronGradient

    method = NeuronGradient(model, model.features[10])
    gradients = method.attribute(images, neuron_selector=(7, slice(None), slice(None)))
    maps = gradients.abs().amax(1)
    return maps


def channel_explgraph(model, images):
    import explgraph as xg

    asked = xg.Activation("features.10", 7)
    found = xg.gradcam(model, images, target=asked, layer="features.8")
    return found


def channel_captum(model, images):
    from captum.attr import LayerAttribution, LayerGradCam

    front = model.features[:11]
    method = LayerGradCam(lambda images: front(images)[:, 7].sum((1, 2)), front[8])
    cells = method.attribute(images, relu_attributions=True)
    maps = LayerAttribution.interpolate(cells, images.shape[2:], "bilinear")[:, 0]
    return maps


def channel_pytorch_grad_cam(model, images):
    from pytorch_grad_cam import GradCAM

    front = model.features[:11]
    targets = [lambda maps: maps[7].sum()] * len(images)
    with GradCAM(model=front, target_layers=[front[8]]) as cam:
        maps = cam(input_tensor=images, targets=targets)
    return maps


def channel_torchcam(model, images):
    from torch.nn.functional import interpolate
    from torchcam.methods import GradCAM

    front = model.features[:11]
    with GradCAM(front, "8") as extractor:
        cells = extractor(scores=front(images), targets=lambda maps: maps[7].sum())[0]
    maps = interpolate(cells[:, None], images.shape[2:], mode="bilinear")[:, 0]
    return maps


# Task 3: a network of one's own and a photograph; the map is of the photograph's size


def own_explgraph(model, photograph, mean, std, names):
    import explgraph as xg

    network = xg.wrap(model, input_size=224, mean=mean, std=std, class_names=names)
    found = xg.gradcam(network, photograph, target="zebra", layer="features.12")
    heat_map = found.on_image()
    return found, heat_map


def own_captum(model, photograph, mean, std, names):
    from captum.attr import LayerAttribution, LayerGradCam
    from PIL import Image
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    picture = Image.open(photograph).convert("RGB")
    transform = Compose([Resize((224, 224)), ToTensor(), Normalize(mean, std)])
    image = transform(picture)[None]
    method = LayerGradCam(model, model.features[12])
    cells = method.attribute(image, target=names.index("zebra"), relu_attributions=True)
    heat_map = LayerAttribution.interpolate(cells, picture.size[::-1], "bilinear")[0, 0]
    return heat_map


def own_pytorch_grad_cam(model, photograph, mean, std, names):
    import cv2
    import numpy as np
    from PIL import Image
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import preprocess_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    picture = Image.open(photograph).convert("RGB")
    pixels = np.float32(picture.resize((224, 224))) / 255
    image = preprocess_image(pixels, mean=mean, std=std)
    targets = [ClassifierOutputTarget(names.index("zebra"))]
    with GradCAM(model=model, target_layers=[model.features[12]]) as cam:
        heat_map = cv2.resize(cam(input_tensor=image, targets=targets)[0], picture.size)
    return heat_map


def own_torchcam(model, photograph, mean, std, names):
    from PIL import Image
    from torch.nn.functional import interpolate
    from torchcam.methods import GradCAM
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    picture = Image.open(photograph).convert("RGB")
    transform = Compose([Resize((224, 224)), ToTensor(), Normalize(mean, std)])
    image = transform(picture)[None]
    with GradCAM(model, "features.12") as extractor:
        cells = extractor(names.index("zebra"), model(image))[0]
    heat_map = interpolate(cells[:, None], picture.size[::-1], mode="bilinear")[0, 0]
    return heat_map


# Task 4: several methods side by side on one image, as a picture


def methods_explgraph(model, image, target, path):
    import explgraph as xg

    methods = [xg.gradcam, xg.gradcam_plus_plus, xg.layercam]
    found = [method(model, image, target=target, layer="features.12") for method in methods]
    xg.show_attributions(found).savefig(path, bbox_inches="tight")
    return found


def methods_captum(model, image, picture, target, path):
    import matplotlib.pyplot as plt
    from captum.attr import InputXGradient, LayerAttribution, LayerGradCam, Saliency
    from captum.attr import visualization as viz

    found = {
        one.__name__: one(model).attribute(image, target) for one in (Saliency, InputXGradient)
    }
    cells = LayerGradCam(model, model.features[12]).attribute(image, target, relu_attributions=True)
    found["LayerGradCam"] = LayerAttribution.interpolate(cells, image.shape[2:], "bilinear")
    figure, grid = plt.subplots(1, len(found), figsize=(12, 4))
    for axes, (title, map) in zip(grid, found.items(), strict=True):
        viz.visualize_image_attr(
            map[0].permute(1, 2, 0).detach().numpy(),
            picture,
            method="blended_heat_map",
            sign="all" if title == "InputXGradient" else "positive",
            show_colorbar=True,
            title=title,
            plt_fig_axis=(figure, axes),
            use_pyplot=False,
        )
    figure.savefig(path)
    return found


def methods_pytorch_grad_cam(model, image, picture, target, path):
    import numpy as np
    from PIL import Image
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found, drawn = [], [np.uint8(255 * picture)]
    for method in (GradCAM, GradCAMPlusPlus, LayerCAM):
        with method(model=model, target_layers=[model.features[12]]) as cam:
            map = cam(input_tensor=image, targets=[ClassifierOutputTarget(target)])[0]
        found.append(map)
        drawn.append(show_cam_on_image(picture, map, use_rgb=True))
    Image.fromarray(np.hstack(drawn)).save(path)
    return found


def methods_torchcam(model, image, picture, target, path):
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image
    from torchcam.methods import GradCAM, GradCAMpp, LayerCAM
    from torchcam.utils import overlay_mask
    from torchvision.transforms.functional import to_pil_image

    found, below = [], Image.fromarray(np.uint8(255 * picture))
    figure, grid = plt.subplots(1, 4, figsize=(12, 3))
    grid[0].imshow(below)
    for axes, method in zip(grid[1:], (GradCAM, GradCAMpp, LayerCAM), strict=True):
        with method(model, "features.12") as extractor:
            map = extractor(target, model(image))[0]
        found.append(map)
        axes.imshow(overlay_mask(below, to_pil_image(map, mode="F"), alpha=0.5))
        axes.set_title(method.__name__)
        axes.axis("off")
    figure.savefig(path)
    return found


# Task 5: which units a class rests on


def units_explgraph(model, image, target):
    import explgraph as xg

    drops = xg.ablation(model, image, "features.12", target=target).drops
    best = drops.topk(10).indices
    return drops, best


def units_captum(model, image, target):
    import torch
    from captum.attr import LayerFeatureAblation

    method = LayerFeatureAblation(model, model.features[12])
    channels = torch.arange(512).reshape(1, 512, 1, 1)
    drops = method.attribute(image, target=target, layer_mask=channels, perturbations_per_eval=64)[
        0, :, 0, 0
    ]
    best = drops.topk(10).indices
    return drops, best


def graph_explgraph(model, photographs):
    import explgraph as xg

    graph = xg.mine_images(model, photographs, layers=["features.12"])
    return graph


def nodes_explgraph(model, image, target, graph):
    import explgraph as xg

    why = xg.explain(model, image, graph, target=target)
    return why


TOOLS = ("explgraph", "captum", "pytorch-grad-cam", "torchcam")

# Task -> tool -> its program, or why there is none.
PROGRAMS: dict[str, dict[str, Callable[..., Any] | str]] = {
    "class": {
        "explgraph": class_explgraph,
        "captum": class_captum,
        "pytorch-grad-cam": class_pytorch_grad_cam,
        "torchcam": class_torchcam,
    },
    "channel, pixels": {
        "explgraph": pixels_explgraph,
        "captum": pixels_captum,
        "pytorch-grad-cam": "not offered: only guided backpropagation goes to the pixels",
        "torchcam": "not offered: no method goes to the pixels",
    },
    "channel, an earlier layer": {
        "explgraph": channel_explgraph,
        "captum": channel_captum,
        "pytorch-grad-cam": channel_pytorch_grad_cam,
        "torchcam": channel_torchcam,
    },
    "own network": {
        "explgraph": own_explgraph,
        "captum": own_captum,
        "pytorch-grad-cam": own_pytorch_grad_cam,
        "torchcam": own_torchcam,
    },
    "several methods": {
        "explgraph": methods_explgraph,
        "captum": methods_captum,
        "pytorch-grad-cam": methods_pytorch_grad_cam,
        "torchcam": methods_torchcam,
    },
    "units, channels": {
        "explgraph": units_explgraph,
        "captum": units_captum,
        "pytorch-grad-cam": "not offered: AblationCAM measures it, but gives only a map",
        "torchcam": "not offered: its weights of channels are private",
    },
    "units, nodes": {
        "explgraph": nodes_explgraph,
        "captum": "not offered",
        "pytorch-grad-cam": "not offered: its deep feature factorization is nearest",
        "torchcam": "not offered",
    },
}


def body(program: Callable[..., Any]) -> str:
    """A program as one would write it: without ``def`` and without the last line."""
    lines = getsource(program).splitlines()
    *statements, last = ast.parse("\n".join(lines)).body[0].body  # type: ignore[attr-defined]
    assert isinstance(last, ast.Return)
    return dedent("\n".join(lines[statements[0].lineno - 1 : last.lineno - 1])).strip()


def count_lines(program: Callable[..., Any]) -> int:
    """Lines of a program with its imports, without blank lines and comments.

    >>> count_lines(class_explgraph)
    2
    """
    lines = [line.strip() for line in body(program).splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)
