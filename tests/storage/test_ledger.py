"""Runs, and the ledger of shards."""

from dataclasses import replace

import pytest

from explgraph.errors import StoreError
from explgraph_storage import ShardRecord, Store


def test_runs_keep_all_that_their_result_depends_on(place):
    config = {"layers": ["features.12"], "tau": 0.1, "background": None}
    with Store.open(place, mode="create") as store:
        run = store.begin_run(
            config,
            command="mine",
            extraction_fingerprint="e",
            mining_fingerprint="m",
            weights_sha256="w",
            versions={"torch": "2.15"},
            seed=2**40,
        )
        assert store.read_runs()[0].status == "running"
        store.finish_run(run)
        failing = store.begin_run({}, command="mine")
        store.finish_run(failing, error="no images")
        store.begin_run({}, command="mine")
    with Store.open(place, mode="write") as store:
        store.begin_run({}, command="mine")
        first, second, killed, last = store.read_runs()
        assert (first.status, first.config, first.seed, first.versions) == (
            "finished",
            config,
            2**40,
            {"torch": "2.15"},
        )
        assert (first.extraction_fingerprint, first.mining_fingerprint, first.weights_sha256) == (
            "e",
            "m",
            "w",
        )
        assert first.started_at <= first.finished_at
        assert (second.status, second.error) == ("failed", "no images")
        assert (killed.status, last.status) == ("failed", "running")
        with pytest.raises(StoreError, match="got 99"):
            store.finish_run(99)


def test_the_ledger_knows_the_finished_shards(place):
    with Store.open(place, mode="create") as store:
        shards = [
            ShardRecord(number, f"peaks/{number}.parquet", "f", 16, 12_000, "abc")
            for number in (2, 0)
        ]
        for shard in shards:
            store.add_shard(shard)
        store.add_shard(replace(shards[0], n_peaks=5))
        finished = store.finished_shards()
        assert list(finished) == [0, 2]
        assert finished[2].n_peaks == 5
        assert finished[0].finished_at.endswith("Z")
        store.clear_shards()
        assert store.finished_shards() == {}
