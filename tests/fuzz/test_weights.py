"""Whatever a weights file holds, the network has it, or it is refused in words."""

import warnings

import pytest
import torch
from builders.broken_weights import broken_weights
from builders.fuzzing import cases, fault, peak_memory

from explgraph.network import load_network

CHUNK = 60
MOST = 2**26 * 16  # bytes: what a small file may expand to, held a few times


@pytest.mark.parametrize("first", cases(420, quick=60)[::CHUNK])
def test_broken_weights_are_loaded_as_they_are_or_refused_in_words(tmp_path, first):
    wrong, whole = [], load_network("builders.tiny_network:make").sha256

    def load():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about odd tensors
            network = load_network("builders.tiny_network:make", weights=file)
            stored = torch.load(file, weights_only=True) if file.suffix == ".pth" else None
        # Its checksums tell of any change, so what is read is what was saved.
        assert not how.endswith(": bytes") or network.sha256 == whole
        out = network.model(torch.zeros(1, 3, 48, 64))
        assert out.shape == (1, 3)
        if stored is not None and "features.0.weight" in stored:
            weight = stored["features.0.weight"].to(torch.float32)
            assert torch.equal(network.model.features[0].weight, weight)
        for name, values in network.model.state_dict().items():
            assert torch.isfinite(values).all(), f"{name} is not finite"

    for seed in range(first, first + CHUNK):
        file, how = broken_weights(seed, tmp_path)
        ends = []
        taken = peak_memory(lambda ends=ends, file=file: ends.append(fault(load, file)))
        if ends[0] is not None:
            wrong.append(f"{how}: {ends[0]}")
        elif taken is not None and taken > MOST:
            wrong.append(f"{how}: takes {taken / 2**20:.0f} MiB")
    assert not wrong, "\n" + "\n".join(wrong)
