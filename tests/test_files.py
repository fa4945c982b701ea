import errno
import os
import re
from urllib.error import URLError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.real import ROOT

from explgraph.errors import ExplgraphError
from explgraph.files import make_folder, short_stem, unique_names, whole_file


@pytest.fixture
def older(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text("older")
    return path


def only(path):
    """Whether the file is alone in its folder: nothing temporary is left."""
    return list(path.parent.iterdir()) == [path]


def test_a_file_appears_when_the_block_ends(older):
    with whole_file(older, sync=True) as temporary:
        temporary.write_text("newer")
        assert older.read_text() == "older"
    assert older.read_text() == "newer"
    assert only(older)


def write_and_raise(path, error):
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route to host"),
        ConnectionResetError(errno.ECONNRESET, "connection reset by peer"),
        TimeoutError("timed out"),
        FileNotFoundError(errno.ENOENT, "no such file or directory", "photos/7.jpg"),
        ValueError("no number"),
    ],
)
def test_what_else_fails_in_the_block_is_raised_as_it_is(older, error):
    with pytest.raises(type(error)) as caught:
        write_and_raise(older, error)
    assert caught.value is error
    assert older.read_text() == "older"
    assert only(older)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_file(older, number):
    message = f"^cannot write {older}: {os.strerror(number)}; (make room or )?choose another place$"
    with pytest.raises(ExplgraphError, match=message):
        write_and_raise(older, OSError(number, os.strerror(number)))
    assert older.read_text() == "older"
    assert only(older)


def write_over_a_folder(path, write):
    with whole_file(path) as temporary:
        temporary.mkdir()
        try:
            write(temporary)
        finally:
            temporary.rmdir()


@pytest.mark.parametrize(
    "write", [lambda path: path.write_text(""), lambda path: pq.write_table(pa.table({}), path)]
)
def test_a_temporary_file_that_cannot_be_opened_names_the_file(older, write):
    with pytest.raises(ExplgraphError, match=f"^cannot write {older}: "):
        write_over_a_folder(older, write)


def test_a_block_that_writes_nothing_names_the_file(older):
    message = f"^cannot write {older}: No such file or directory; choose another place$"
    with pytest.raises(ExplgraphError, match=message), whole_file(older):
        pass
    assert older.read_text() == "older"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    for name in ("a" * 251 + ".txt", "斑" * 83 + "a.txt", "\U0001f993" * 62 + ".txt"):
        with whole_file(tmp_path / name) as temporary:
            temporary.write_text(name)
        assert (tmp_path / name).read_text() == name


@pytest.mark.parametrize("letter", ["a", "斑", "\U0001f993", "e\u0301"])
def test_long_names_leave_room_and_stay_different(letter):
    stems = [letter * 200 + str(k) for k in range(20)]
    short = [short_stem(stem) for stem in stems]
    assert len(set(short)) == 20
    assert all(len(os.fsencode(name)) <= 255 - 40 for name in short)
    assert all(name.startswith(letter * 20) for name in short)
    assert short_stem(stems[0]) == short[0]


def test_names_of_images_stay_short_and_unique(tmp_path):
    stem = "z" * 250
    names = unique_names([tmp_path / f"{stem}.jpg", tmp_path / f"{stem}.png", tmp_path / "a.png"])
    assert len(set(names)) == 3
    assert names[2] == "a"
    assert max(map(len, names)) <= 215


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "answer.txt"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one"  # of the block that ended last
    assert only(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_made_is_named_with_a_remedy(tmp_path, monkeypatch, number):
    def fail(*args, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.mkdir", fail)
    message = f"^cannot make the folder {tmp_path / 'new'}: {os.strerror(number)}; .*choose a"
    with pytest.raises(ExplgraphError, match=message):
        make_folder(tmp_path / "new")


def test_a_file_where_a_folder_should_be_is_named(older):
    with pytest.raises(ExplgraphError, match=r"cannot make the folder .*it is a file"):
        make_folder(older)


def test_every_file_that_is_written_appears_whole():
    writes = re.compile(r"write_text\(|write_bytes\(|savefig\(|np\.savez?\(|open\([^)]*\"wb?\"")
    for path in sorted((ROOT / "explgraph").rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        lines = [line for line in code.splitlines() if ">>>" not in line and "..." not in line]
        if writes.search("\n".join(lines)) and path.name != "table.py":  # given a whole file
            assert "whole_file(" in code, path
