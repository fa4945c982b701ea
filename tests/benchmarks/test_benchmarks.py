"""Every benchmark runs, at its smallest size, and gives the figures that others read."""

import json
import shutil
import time
from importlib import import_module

import numpy as np
import pytest
import torch
from builders import tiny_network

from benchmarks import (
    BENCHMARKS,
    animals,
    attribution,
    extraction,
    localisation,
    main,
    store,
    timing,
)


@pytest.fixture
def benchmark(capsys, monkeypatch):
    """Runs a benchmark and gives its figures."""
    # What is so small is slower with several threads, in the processes that are started too.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments):
        arguments = [str(one) for one in arguments]
        assert main([*arguments, "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert import_module(f"benchmarks.{arguments[0]}").text(figures)
        return figures

    return run


class Here:
    """A `timing.Process` that is this one: to start one takes longer than all that is timed."""

    def __init__(self, prepare, *arguments, keep_memory):
        self.timers = lambda: prepare(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_process_of_its_own_says_how_long_it_took():
    with timing.Process(dict, {"clock": time.monotonic}, keep_memory=True) as process:
        (timer,) = process.timers().values()
        assert 0 < timer() < timer()


def test_the_help_names_every_benchmark_and_the_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    words = capsys.readouterr().out
    assert all(f"scripts/benchmark.py {name}" in words for name in BENCHMARKS)


def test_extraction(benchmark, monkeypatch):
    monkeypatch.setattr(extraction, "Process", Here)
    options = ("--model", "squeezenet1_0", "--layers", "features.12", "--device", "cpu")
    figures = benchmark("extraction", *options, "--n", 2, "--rounds", 1, "--no-memory")
    assert figures["squeezenet1_0"].keys() == {
        "model",
        "layers",
        "objects",
        "inputs",
        "device",
        "extraction_inputs_per_s",
        "forward_inputs_per_s",
        "forward_channels_last_inputs_per_s",
        "floor_inputs_per_s",
        "ratio",
        "ratio_to_floor",
        "ratio_to_default_layout",
    }
    assert figures["squeezenet1_0"]["inputs"] == 4


def test_mining(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    marks = rng.uniform(0.3, 0.7, (60, 2))
    arrays = {"nose": marks, "tail": marks[:, ::-1]}
    for name, channels, cells in (("low", 6, 28), ("top", 4, 14)):
        grid = (np.arange(cells) + 0.5) / cells
        row, col = (grid - marks[:, axis, None] for axis in (0, 1))
        blob = np.exp(-(row[:, :, None] ** 2 + col[:, None] ** 2) / 0.005)
        arrays[name] = 4 * blob[:, None].repeat(channels, 1).astype(np.float32)
    arrays |= {"stride_px": np.array([8.0, 16.0]), "first_centre_px": np.array([4.0, 8.0])}
    np.savez(tmp_path / "maps.npz", **arrays)
    figures = benchmark("mining", "--maps", tmp_path / "maps.npz")
    assert figures["seconds"] > 0
    for what in ("layers", "layers_without_flags", "raw_filters", "raw_filters_as_photographed"):
        assert figures[what].keys() == {"low", "top"}


def test_scaling(benchmark):
    (figures,) = benchmark("scaling", "--sizes", "30x2", "--channels", 32).values()
    assert figures["images"] == 30
    assert figures["nodes_per_channel"] == 2
    assert figures["seconds"] > 0
    assert figures["peak_memory_mib"] >= figures["of_it_before_mib"] > 50


def test_the_store_saves_loads_and_reads_the_graph_it_says():
    figures = store.measure(2000, parents=15, reads=20)
    assert figures["edges"] == 1500 * 15
    assert min(figures["read_node_ms_median"], figures["save_s"], figures["load_s"]) > 0


def test_attribution(benchmark, monkeypatch):
    monkeypatch.setattr(attribution, "Process", Here)
    methods = ("forward pass", "saliency", "deconvnet", "gradcam", "layercam")
    options = ("--models", "squeezenet1_0", "--n", 1, "--rounds", 1)
    figures = benchmark("attribution", *options, "--methods", ",".join(methods))
    found = figures["models"]["squeezenet1_0"]
    assert found.keys() == set(methods)
    assert found["gradcam"].keys() == {
        "explgraph",
        "captum",
        "pytorch-grad-cam",
        "torchcam",
        "fastest_peer_over_explgraph",
    }


@pytest.fixture
def creatures(workspace, scenes, tmp_path, monkeypatch):
    """The arguments that have the creatures of the tests stand for the animals."""
    folder = tmp_path / "shared" / "data" / "animals"
    shutil.copytree(scenes.coco.parent, folder)
    coco = json.loads(scenes.coco.read_text())
    # Three creatures share a photograph, the benchmarks are about those that are alone.
    coco["annotations"] = list({one["image_id"]: one for one in coco["annotations"]}.values())[:5]
    (folder / "creatures.json").write_text(json.dumps(coco))
    weights = tmp_path / "shared" / animals.WEIGHTS
    weights.parent.mkdir()
    torch.save(tiny_network.make().state_dict(), weights)
    (tmp_path / "workspaces").mkdir()
    (tmp_path / "workspaces" / "creatures").symlink_to(workspace)
    for name in list(animals.CLASSES):
        monkeypatch.delitem(animals.CLASSES, name)
    monkeypatch.setitem(animals.CLASSES, "creature", ("creatures", 0))
    monkeypatch.setattr(localisation, "LAYER", "features.2")
    return ("--workspaces", tmp_path / "workspaces", "--shared", tmp_path / "shared")


def test_localisation(benchmark, creatures):
    figures = benchmark("localisation", *creatures, "--removal-images", 1, "--steps", 3)
    assert figures["photographs"] == {"creature": 5}
    assert figures["deletion"].keys() == figures["insertion"].keys()
    assert "nodes, both layers, GraphCut" in figures["corloc"]
    assert "centre" in figures["pointing"]


def test_explain(benchmark, creatures):
    figures = benchmark("explain", *creatures, "--images", 2)
    assert {"images", "draws", "features.4"} <= figures.keys()
    one = figures["features.4"]["best located, all ten at once, score"]
    assert one.keys() == {"strongest", "random", "difference", "strongest_is_larger"}


def test_repair(benchmark, workspace):
    options = ("--trained", 24, "--new", 32, "--epochs", 1, "--filters", 1)
    found = benchmark("repair", "--workspace", workspace, *options)
    assert {"retrain", "zero, 1 of features.14", "damp, 1 of features.11"} <= found.keys()
    assert found["zero, 1 of features.14"]["images"] == 32
    assert found["retrain"]["images"] == 16


def test_parts(benchmark, workspace, scenes):
    pair = f"{scenes.coco}={workspace}"
    figures = benchmark("parts", pair, pair, "--repeats", 1, "--searched", 20)
    error = figures["error"][scenes.coco.stem]
    assert np.mean(error["parts"]) < np.mean(error["constant"])


def test_account_tells_creatures_from_scenery_and_from_chance(benchmark):
    options = ("--species", "fox", "--n", 48, "--peaks", "4", "--channels", "512")
    found = benchmark("account", *options)
    shares = {name.removeprefix("fox, P = 4: "): one for name, one in found.items()}
    assert all(sum(one.values()) == pytest.approx(1) for one in shares.values())
    assert shares["limbs"]["part"] > 0.5 > shares["scene"]["part"]
    assert shares["new scenery"]["part"] <= 0.1
    for number in (1, 4):
        assert shares[f"of 512 channels of random peaks, P = {number}"]["nothing"] >= 0.95
