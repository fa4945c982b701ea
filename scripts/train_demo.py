"""Train the demo's network from scratch and write its weights into the package.

    python scripts/train_demo.py [--images 6000] [--epochs 8] [--seed 0] [--threads 2] [--out FILE]

Half of the pictures show a species, half a mixture: head, tail, legs and coat are each of any
species. Besides the species, the network has to name the head, the tail, the legs and the coat.
The extra outputs for these are dropped at the end. The network is not told the facing, and every
picture is mirrored at random.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from creatures.anatomy import SPECIES, Species
from creatures.coats import COATS
from creatures.creature import draw_creature
from creatures.members import HEADS, LEGS, TAILS
from explgraph.demo.network import WEIGHTS, DemoNetwork

TRAITS = {"head": tuple(HEADS), "tail": tuple(TAILS), "legs": tuple(LEGS), "coat": tuple(COATS)}
STORED = 128  # side of a stored picture; its central 112 pixels are the creature's box
SIDE = DemoNetwork.input_size[0]
NONE = -100  # label that cross_entropy ignores


def mixture(rng: np.random.Generator) -> Species:
    """A creature on a random plan with every trait of a random species."""
    kind = list(SPECIES.values())[rng.integers(len(SPECIES))]
    traits = {name: values[rng.integers(len(values))] for name, values in TRAITS.items()}
    return replace(kind, name="mixture", **traits)


def picture(job: tuple[int, int, float]) -> tuple[NDArray[np.uint8], list[int]]:
    """One stored picture and its labels, species and the four traits.

    Args:
        job: seed, number, share of mixtures.
    """
    seed, number, mixtures = job
    rng = np.random.default_rng([seed, number, 2])
    names = list(SPECIES)
    mixed = rng.uniform() < mixtures
    kind = mixture(rng) if mixed else SPECIES[names[number % len(names)]]
    creature = draw_creature(kind, seed=rng)
    x, y, width, height = creature.box
    margin = (STORED / SIDE - 1) / 2
    frame = (
        x - margin * width,
        y - margin * height,
        x + (1 + margin) * width,
        y + (1 + margin) * height,
    )
    image = Image.fromarray(creature.image).transform(
        (STORED, STORED),
        Image.Transform.EXTENT,
        frame,
        Image.Resampling.BILINEAR,
        fillcolor=(128, 128, 128),
    )
    labels = [NONE if mixed else names.index(kind.name)]
    return np.asarray(image), labels + [
        values.index(getattr(kind, name)) for name, values in TRAITS.items()
    ]


def generate(n: int, *, seed: int, mixtures: float, processes: int) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 (n, 3, 128, 128), and labels, (n, 5)."""
    with get_context("spawn").Pool(processes) as pool:
        results = pool.map(picture, [(seed, number, mixtures) for number in range(n)], chunksize=64)
    images = np.stack([image for image, _ in results]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.tensor(
        [labels for _, labels in results]
    )


def normalised(images: Tensor) -> Tensor:
    return (images.float() / 255 - 0.5) / 0.25


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Normalised 112 x 112 pictures: shifted, mirrored, the colours of each one scaled."""
    n, spare = len(images), STORED - SIDE
    rows, columns = torch.randint(spare + 1, (2, n), generator=generator)
    mirror = torch.rand(n, generator=generator) < 0.5
    cut = [
        (image.flip(2) if flip else image)[:, row : row + SIDE, column : column + SIDE]
        for image, row, column, flip in zip(
            images, rows.tolist(), columns.tolist(), mirror.tolist(), strict=True
        )
    ]
    batch = normalised(torch.stack(cut))
    gain = 1 + 0.15 * (2 * torch.rand(n, 3, 1, 1, generator=generator) - 1)
    return batch * gain + 0.2 * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)


def train(
    images: Tensor, labels: Tensor, *, epochs: int, seed: int, rate: float = 4e-3, batch: int = 64
) -> DemoNetwork:
    """The trained network."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DemoNetwork().train()
    extra = nn.ModuleList(
        nn.Linear(network.classifier.in_features, len(values)) for values in TRAITS.values()
    )
    parameters = [*network.parameters(), *extra.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=2e-2)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=steps, pct_start=0.2
    )
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(order) // batch * batch].split(batch):
            inputs = augmented(images[chosen], generator)
            pooled = nn.functional.dropout(network.pool(network.features(inputs)).flatten(1), 0.3)
            outputs = [network.classifier(pooled), *(head(pooled) for head in extra)]
            loss = torch.stack(
                [
                    nn.functional.cross_entropy(o, t, ignore_index=NONE)
                    for o, t in zip(outputs, labels[chosen].T, strict=True)
                ]
            ).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        mean, elapsed = total * batch / len(images), time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}  loss {mean:.3f}  {elapsed:.0f} s", flush=True)
    return network.eval()


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of rightly named species among pictures cut to the creature's box."""
    edge = (STORED - SIDE) // 2
    boxes = images[:, :, edge : edge + SIDE, edge : edge + SIDE]
    with torch.inference_mode():
        guesses = torch.cat([network(normalised(part)).argmax(1) for part in boxes.split(128)])
    return float((guesses == labels[:, 0]).float().mean())


def save(network: DemoNetwork, path: Path, *, notes: dict[str, str]) -> None:
    """Write the state dict as float16."""
    state = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, path, metadata=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "explgraph" / "demo" / WEIGHTS
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    images, labels = generate(
        options.images, seed=options.seed, mixtures=0.5, processes=options.threads
    )
    held_out = generate(800, seed=options.seed + 1_000_003, mixtures=0.0, processes=options.threads)
    print(
        f"{len(images)} + {len(held_out[0])} pictures in {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    network = train(images, labels, epochs=options.epochs, seed=options.seed)
    notes = {
        "accuracy": f"{accuracy(network, *held_out):.4f}",
        "held_out": "800",
        "seed": str(options.seed),
    }
    notes |= {"images": str(options.images), "epochs": str(options.epochs)}
    save(network, options.out, notes=notes)
    print(json.dumps(notes | {"seconds": round(time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
