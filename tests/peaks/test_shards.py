import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from explgraph.errors import WorkspaceError
from explgraph.files import whole_file
from explgraph.graph import Layer
from explgraph.peaks import (
    COLUMNS,
    MapPeaks,
    ReadObject,
    ShardContent,
    read_layer,
    read_shard_content,
)
from explgraph.peaks.shards import META, remove_unfinished, write_shard

N_PEAKS, N_FACINGS = 3, 2
LAYERS = {
    name: Layer(name, channels, 5, 7, (4.0, 4.0), (2.0, 2.0), (5.0, 5.0))
    for name, channels in (("a", 4), ("b.1", 6))
}


def content(number, indices, skipped=()):
    objects = tuple(ReadObject(i, 100 + i, 640, 480, (1.0, 2.0, 30.5, 40.25)) for i in indices)
    return ShardContent(
        number, "fingerprint", objects, tuple((i, f"{i} is broken") for i in skipped)
    )


def batches(channels, sizes, seed=0):
    """Batches of maps, (facing, image, channel, peak or column), sorted, a third silent."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for n in sizes:
        shape = (N_FACINGS, n, channels, N_PEAKS)
        value = (
            torch.randn(shape, generator=generator)
            .add(0.4)
            .clamp_min(0)
            .sort(-1, descending=True)[0]
        )
        value[:, :, 1] = 0  # a channel without peaks
        row, col = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
        made.append(MapPeaks(value, row, col, torch.rand(*shape[:3], COLUMNS, generator=generator)))
    return made


def write_two(folder, indices=((0, 1, 3, 4), (64, 66, 67))):
    """Write two shards of two layers in batches; return their paths and the batches."""
    peaks = {
        name: [batches(layer.channels, sizes, seed=k) for k, sizes in enumerate(([3, 1], [1, 2]))]
        for name, layer in LAYERS.items()
    }
    paths = [folder / f"part-{k}.parquet" for k in range(2)]
    for k, path in enumerate(paths):
        write_shard(
            path,
            content(k, indices[k], skipped=(indices[k][0] + 60,)),
            {name: peaks[name][k] for name in peaks},
        )
    return paths, peaks


def dense(written, of_images, n_peaks=N_PEAKS, n_facings=N_FACINGS):
    """Return what `read_layer` must give, peak by peak in plain loops."""
    channels = written[0][0][0].shape[2]
    out = np.zeros((3, n_facings, channels, n_peaks, len(of_images)), np.float32)
    for column, (part, position) in enumerate(of_images):
        value, row, col = (
            torch.cat([batch[k] for batch in written[part]], 1)[:, position] for k in range(3)
        )
        for facing in range(n_facings):
            for channel in range(channels):
                for peak in range(n_peaks):
                    v = np.float16(value[facing, channel, peak])
                    if v > 0:
                        out[:, facing, channel, peak, column] = (
                            v,
                            row[facing, channel, peak],
                            col[facing, channel, peak],
                        )
    return out


def dense_profiles(written, of_images, n_facings=N_FACINGS):
    """Return the profiles that `read_layer` must give, map by map; a map without peaks has none."""
    channels = written[0][0][0].shape[2]
    out = np.zeros((n_facings, channels, COLUMNS, len(of_images)), np.float32)
    for column, (part, position) in enumerate(of_images):
        value, profile = (
            torch.cat([batch[k] for batch in written[part]], 1)[:, position] for k in (0, 3)
        )
        for facing in range(n_facings):
            for channel in range(channels):
                if np.float16(value[facing, channel, 0]) > 0:
                    out[facing, channel, :, column] = (
                        profile[facing, channel].numpy().astype(np.float16)
                    )
    return out


def assert_equal(peaks, expected):
    for got, want in zip((peaks.value, peaks.row, peaks.col), expected, strict=True):
        assert np.array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", LAYERS)
def test_what_was_written_comes_back(tmp_path, name):
    paths, written = write_two(tmp_path)
    peaks = read_layer(
        paths, LAYERS[name], images=[0, 1, 3, 4, 64, 66, 67], n_peaks=N_PEAKS, n_facings=2
    )
    assert peaks.layer == LAYERS[name]
    assert (peaks.n_facings, peaks.n_channels, peaks.n_images) == (2, LAYERS[name].channels, 7)
    assert_equal(
        peaks, dense(written[name], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)])
    )
    assert peaks.value[:, 1].eq(0).all()


@pytest.mark.parametrize("name", LAYERS)
def test_profiles_come_back_in_half_precision_and_maps_without_peaks_have_none(tmp_path, name):
    paths, written = write_two(tmp_path)
    peaks = read_layer(
        paths, LAYERS[name], images=[0, 1, 3, 4, 64, 66, 67], n_peaks=N_PEAKS, n_facings=2
    )
    assert peaks.profile.dtype == torch.float32
    expected = dense_profiles(
        written[name], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    )
    assert np.array_equal(peaks.profile.numpy(), expected)
    silent = peaks.value[:, :, 0] == 0
    assert silent[:, 1].all()
    assert peaks.profile.movedim(2, -1)[silent].eq(0).all()
    assert peaks.profile.movedim(2, -1)[~silent].gt(0).any(-1).all()


def test_profiles_of_some_images_facings_and_peaks_are_those_of_their_maps(tmp_path):
    paths, written = write_two(tmp_path)
    read = lambda images, **shape: read_layer(
        paths, LAYERS["b.1"], images=images, **shape
    ).profile.numpy()
    assert np.array_equal(
        read([0, 4, 67], n_peaks=3, n_facings=2),
        dense_profiles(written["b.1"], [(0, 0), (0, 3), (1, 2)]),
    )
    one = dense_profiles(written["b.1"], [(0, 2), (1, 1)], n_facings=1)
    assert np.array_equal(read([3, 66], n_peaks=1, n_facings=1), one)
    unknown = read([2, 3, 999], n_peaks=3, n_facings=2)
    assert np.array_equal(unknown[..., 1:2], dense_profiles(written["b.1"], [(0, 2)]))
    assert not unknown[..., [0, 2]].any()


def test_a_profile_is_written_once_per_map_at_its_strongest_peak(tmp_path):
    paths, _ = write_two(tmp_path)
    rows = pq.read_table(paths[0]).to_pylist()
    maps = {}
    for row in rows:
        maps.setdefault((row["layer"], row["channel"], row["mirrored"], row["image"]), []).append(
            row
        )
    assert max(len(of_map) for of_map in maps.values()) > 1
    for of_map in maps.values():
        assert len(of_map[0]["profile"]) == COLUMNS
        assert of_map[0]["value"] == max(row["value"] for row in of_map)
        assert [row["profile"] for row in of_map[1:]] == [None] * (len(of_map) - 1)
    assert pq.read_schema(paths[0]).field("profile").type == pa.list_(pa.float16())


@pytest.mark.parametrize(
    ("images", "of_images"),
    [
        (
            [0, 4, 67],
            [(0, 0), (0, 3), (1, 2)],
        ),  # written images that nobody asks for, between and behind those wanted
        ([3], [(0, 2)]),
        ([64, 66], [(1, 0), (1, 1)]),
    ],
)
def test_some_of_the_images_can_be_read_alone(tmp_path, images, of_images):
    paths, written = write_two(tmp_path)
    peaks = read_layer(paths, LAYERS["b.1"], images=images, n_peaks=N_PEAKS, n_facings=2)
    assert_equal(peaks, dense(written["b.1"], of_images))


def test_images_without_a_shard_have_no_peaks(tmp_path):
    paths, written = write_two(tmp_path)
    peaks = read_layer(paths, LAYERS["a"], images=[1, 2, 66, 999], n_peaks=N_PEAKS, n_facings=2)
    assert_equal(peaks.images(slice(0, 4, 2)), dense(written["a"], [(0, 1), (1, 1)]))
    assert peaks.value[..., [1, 3]].eq(0).all()
    nothing = read_layer([], LAYERS["a"], images=[1, 2], n_peaks=N_PEAKS, n_facings=2)
    assert nothing.value.shape == (2, 4, N_PEAKS, 2)
    assert nothing.value.eq(0).all()
    assert read_layer(paths, LAYERS["a"], images=[], n_peaks=N_PEAKS, n_facings=2).n_images == 0


def test_fewer_peaks_and_one_facing_are_the_strongest_as_photographed(tmp_path):
    paths, written = write_two(tmp_path)
    peaks = read_layer(paths, LAYERS["b.1"], images=[0, 3, 66], n_peaks=1, n_facings=1)
    assert_equal(peaks, dense(written["b.1"], [(0, 0), (0, 2), (1, 1)], n_peaks=1, n_facings=1))


def test_a_shard_is_a_table_sorted_by_layer_and_channel_that_other_tools_read(tmp_path):
    paths, _ = write_two(tmp_path)
    table = pq.read_table(paths[0])
    assert table.column_names == [
        "layer",
        "channel",
        "mirrored",
        "image",
        "row",
        "col",
        "value",
        "profile",
    ]
    columns = [table[name].to_pylist() for name in ("layer", "channel", "mirrored", "image")]
    keys = list(zip(*columns, strict=True))
    assert keys == sorted(keys)
    assert set(columns[0]) == {"a", "b.1"}
    assert set(columns[3]) <= {0, 1, 3, 4}
    assert min(table["value"].to_pylist()) > 0


def test_a_shard_states_what_is_in_it(tmp_path):
    path = tmp_path / "part.parquet"
    written = content(7, (2, 5), skipped=(3, 4))
    shard = write_shard(path, written, {"a": batches(4, [2])})
    assert read_shard_content(path) == written
    assert (shard.number, shard.path, shard.n_objects) == (7, path, 2)
    assert shard.n_peaks == pq.read_metadata(path).num_rows
    assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_shard_of_nothing_but_broken_images_is_a_shard(tmp_path):
    path = tmp_path / "part.parquet"
    shard = write_shard(path, content(0, (), skipped=(0, 1)), {})
    assert shard.n_peaks == 0
    assert read_shard_content(path).skipped == ((0, "0 is broken"), (1, "1 is broken"))
    assert (
        read_layer([path], LAYERS["a"], images=[0, 1], n_peaks=N_PEAKS, n_facings=2)
        .value.eq(0)
        .all()
    )


def test_the_same_peaks_give_the_same_bytes_however_they_are_batched(tmp_path):
    joined = [MapPeaks(*(torch.cat(t, 1) for t in zip(*batches(4, [3, 1]), strict=True)))]
    digests = [
        write_shard(tmp_path / f"{k}", content(0, (0, 1, 2, 3)), {"a": p}).sha256
        for k, p in enumerate((batches(4, [3, 1]), joined))
    ]
    assert digests[0] == digests[1]
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_writing_leaves_the_shard_and_nothing_else(tmp_path):
    write_two(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part-0.parquet", "part-1.parquet"]


def test_a_shard_that_cannot_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "part.parquet"
    write_shard(path, content(0, (0, 1)), {"a": batches(4, [2])})
    before = path.read_bytes()
    wrong = [t._replace(col=t.col[:, :1]) for t in batches(4, [2])]
    with pytest.raises(IndexError):
        write_shard(path, content(0, (0, 1)), {"a": batches(4, [2]), "b": wrong})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["part.parquet"]


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    write_two(tmp_path)
    with whole_file(tmp_path / "part-00007.parquet") as temporary:
        temporary.write_bytes(b"half of it")
        remove_unfinished(tmp_path)
        assert not temporary.exists()
        temporary.write_bytes(b"all of it")
    assert len(list(tmp_path.iterdir())) == 3


def foreign_files(folder):
    """Files that are not a shard: cut short, another kind, other columns or metadata."""
    paths, _ = write_two(folder)
    whole = paths[0].read_bytes()
    (folder / "half").write_bytes(whole[: len(whole) // 2])
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("no parquet at all, and long enough to be one " * 9)
    table = pa.table({"x": [1, 2]})
    pq.write_table(table, folder / "plain")
    for name, meta in (
        ("no-json", b"{"),
        ("other", b'{"number": 1}'),
        ("list", b"[1, 2]"),
        ("objects", b'{"objects": [1], "skipped": []}'),
    ):
        pq.write_table(table.replace_schema_metadata({META: meta}), folder / name)
    return [
        folder / name
        for name in (
            "half",
            "empty",
            "text",
            "plain",
            "no-json",
            "other",
            "list",
            "objects",
            "missing",
        )
    ]


def test_a_half_written_or_foreign_file_is_not_a_shard(tmp_path):
    for path in foreign_files(tmp_path):
        with pytest.raises(
            WorkspaceError,
            match=r"is not a shard of a peak store .*; run the same .explgraph mine. command",
        ):
            read_shard_content(path)


def test_reading_peaks_from_a_half_written_or_foreign_file_says_so(tmp_path):
    for path in foreign_files(tmp_path):
        with pytest.raises(
            WorkspaceError,
            match=r"is not a shard of a peak store .*; run the same .explgraph mine. command",
        ):
            read_layer([path], LAYERS["a"], images=[0, 1], n_peaks=N_PEAKS, n_facings=2)


def test_the_description_of_a_shard_is_json_beside_the_columns(tmp_path):
    paths, _ = write_two(tmp_path)
    meta = json.loads(pq.read_schema(paths[1]).metadata[META])
    assert (meta["number"], meta["fingerprint"], len(meta["objects"])) == (1, "fingerprint", 3)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("channel", lambda n: pa.array([99] * n, pa.int32()), "channels beyond the 4 of a"),
        ("channel", lambda n: pa.array([-1] * n, pa.int32()), "channels beyond the 4 of a"),
        ("channel", lambda n: pa.array([0.5] * n), "column channel is of type double"),
        ("row", lambda n: pa.array([float("nan")] * n, pa.float32()), "column row has values that"),
        ("col", lambda n: pa.array([None] * n, pa.float32()), "rows without a value"),
        ("image", lambda n: pa.array(range(n), pa.int32()), "not one profile of 8 for each map"),
    ],
)
def test_columns_that_cannot_be_those_of_a_shard_are_refused(tmp_path, column, values, said):
    (path, _), _ = write_two(tmp_path)
    table = pq.read_table(path)
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, column, values(table.num_rows)), path)
    with pytest.raises(WorkspaceError, match=said):
        read_layer([path], LAYERS["a"], images=range(5), n_peaks=N_PEAKS, n_facings=N_FACINGS)
