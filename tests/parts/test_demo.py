"""Semantic parts on the demo's creatures, where the truth about every part is exact."""

import json

import numpy as np
import pytest
from builders.commands import explgraph

from explgraph.demo import LAYERS, MODEL, unpack_pictures


@pytest.fixture(scope="module")
def foxes(tmp_path_factory):
    """Splits with one, three and ten annotations for four parts of the demo's foxes."""
    folder = tmp_path_factory.mktemp("foxes")
    pictures = unpack_pictures(folder)
    dataset, background = pictures.mined, pictures.background
    ids = [a["id"] for a in json.loads(dataset.read_text())["annotations"]]
    splits = []
    for part in ("head", "tail", "front_leg", "hind_leg"):
        for seed in range(5):
            mixed = np.random.default_rng(seed).permutation(ids).tolist()
            splits += [
                {"split": len(splits) + k, "part": part, "fit": mixed[:n], "test": mixed[20:]}
                for k, n in enumerate((1, 3, 10))
            ]
    (folder / "splits.json").write_text(json.dumps(splits))
    job = ("--model", MODEL, "--layers", ",".join(LAYERS), "--background", background, "--quiet")
    mined = explgraph("mine", dataset, "--out", folder / "ws", *job)
    assert mined.code == 0, mined.err
    options = (
        "--dataset",
        dataset,
        "--few-shot",
        folder / "splits.json",
        "--out",
        folder / "p.parquet",
        "--json",
    )
    return explgraph("evaluate", folder / "ws", *options).json()["shots"]


def test_one_annotation_is_worth_more_than_knowing_where_the_part_usually_is(foxes):
    assert foxes["1"]["ratio"] < 0.7


def test_every_further_annotation_lowers_the_error(foxes):
    assert foxes["10"]["error"] < foxes["3"]["error"] < foxes["1"]["error"]
    assert foxes["10"]["ratio"] < 0.5


def test_the_surer_half_errs_less(foxes):
    assert all(figures["best_half"] < 0.9 for figures in foxes.values())
