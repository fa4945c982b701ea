import errno
import os
from urllib.error import URLError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explgraph.errors import ExplgraphError
from explgraph.files import whole_file


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
    message = f"^cannot write {older}: {os.strerror(number)}$"
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
    message = f"^cannot write {older}: No such file or directory$"
    with pytest.raises(ExplgraphError, match=message), whole_file(older):
        pass
    assert older.read_text() == "older"
