"""A workspace whose tables are elsewhere remembers where, and every command asks it."""

import shutil

import pytest
from builders.commands import contents, explgraph, refused
from builders.tiny_network import TOP

from explgraph.errors import StoreError
from explgraph.queries import check_workspace
from explgraph.workspace import Workspace
from explgraph.workspace.database import REMEMBERED
from explgraph_storage import Store
from explgraph_storage.engine import find_place


@pytest.fixture(scope="module")
def apart(mine_scenes, tmp_path_factory):
    """A workspace with its tables in another folder."""
    root = tmp_path_factory.mktemp("apart")
    url = f"sqlite:///{root}/tables/own.db"
    (root / "tables").mkdir()
    answer = explgraph(*mine_scenes, "--out", root / "ws", "--db", url)
    assert answer.code == 0, answer.err
    return root / "ws"


def test_the_graph_is_the_same_and_nothing_is_said_twice(apart, workspace, mine_scenes):
    assert not (apart / "graph.db").exists()
    assert (apart / REMEMBERED).read_text() == f"sqlite:///{apart.parent}/tables/own.db\n"
    with Workspace(apart) as one, Workspace(workspace) as other:
        assert dict(one.graph.nodes(data=True)) == dict(other.graph.nodes(data=True))
    assert explgraph(*mine_scenes, "--out", apart, "--json").json()["unchanged"]
    assert check_workspace(apart).well


def test_every_command_asks_it_without_being_told(apart, scenes, tmp_path):
    photo = scenes.folder / "04.png"
    ws = ("--workspace", apart, "--out", tmp_path)
    with Workspace(apart) as opened:
        node = next(iter(opened.graph))
    marks = ("--annotations", scenes.coco, "--ids", "1000,1021")
    for command in (
        ("show", apart), ("show", apart, "--node", node), ("locate", apart, photo),
        ("evaluate", apart, "--dataset", scenes.coco), ("check", apart),
        ("export", apart, "--format", "gexf", "--out", tmp_path / "a.gexf"),
        ("explain", photo, *ws), ("nodemap", photo, "--node", node, *ws),
        ("saliency", photo, "--node", node, *ws), ("gradcam", photo, *ws),
        ("correspondence", scenes.coco, "--workspace", apart, "--node", node, "--limit", 3),
        ("part", "fit", apart, "--name", "head", *marks), ("part", "list", apart),
        ("part", "show", apart, "--name", "head"), ("part", "suggest", apart, "--name", "head"),
        ("part", "locate", apart, photo, "--name", "head", "--out", tmp_path / "p.csv",
         "--format", "csv"),
        ("part", "remove", apart, "--name", "head"),
    ):  # fmt: skip
        answer = explgraph(*command)
        assert answer.code == 0, (command, answer.err)
    assert TOP in explgraph("show", apart).out


def test_tables_that_have_moved_are_named_and_found_again(apart, tmp_path):
    copy = shutil.copytree(apart, tmp_path / "ws")
    there = shutil.copytree(apart.parent / "tables", tmp_path / "tables")
    (copy / REMEMBERED).write_text(f"sqlite:///{tmp_path}/gone.db\n")
    line = refused(1, "show", copy)
    assert "no database at" in line
    assert f"explgraph relocate {copy} --db URL" in line
    url = f"sqlite:///{there}/own.db"
    assert explgraph("show", copy, "--db", url).code == 0
    assert explgraph("relocate", copy, "--db", url, "--json").json()["moved"] == {"db": url}
    assert explgraph("show", copy).code == 0


def test_a_workspace_of_its_own_again_remembers_nothing(apart, tmp_path):
    copy = shutil.copytree(apart, tmp_path / "ws")
    shutil.copy(apart.parent / "tables" / "own.db", copy / "graph.db")
    assert explgraph("relocate", copy, "--db", f"sqlite:///{copy}/graph.db").code == 0
    assert not (copy / REMEMBERED).exists()
    assert explgraph("show", copy).code == 0


def test_the_tables_of_another_workspace_are_refused(apart, folder_workspace, scenes):
    url = f"sqlite:///{folder_workspace}/graph.db"
    line = refused(1, "evaluate", apart, "--db", url, "--dataset", scenes.coco)
    assert "is of another job than the ledger names" in line


def test_no_password_is_remembered(monkeypatch):
    url = "postgresql+psycopg://me:secret@host:5/db?sslmode=require&sslpassword=secret"
    place = find_place(url)
    assert place.remembered == "postgresql+psycopg://me@host:5/db?sslmode=require"
    assert "secret" not in str(place)
    monkeypatch.setenv("EXPLGRAPH_DB_PASSWORD", "from outside")
    assert find_place(place.remembered).url.password == "from outside"
    assert find_place(url).url.password == "secret"


def test_a_file_with_an_odd_name_is_remembered(tmp_path):
    path = tmp_path / "a b%20c?d#é.db"
    with Store.open(path, mode="create") as store:
        url = store.url
    with Store.open(url) as store:
        assert store.file == path


def test_a_list_that_cannot_be_read_is_an_error(apart, tmp_path):
    copy = shutil.copytree(apart, tmp_path / "ws")
    (copy / REMEMBERED).write_bytes(b"\xff\xfe")
    assert "say with --db where the tables are" in refused(1, "show", copy)
    (copy / REMEMBERED).write_text("no such thing://")
    with pytest.raises(StoreError, match="explgraph relocate"):
        Workspace(copy)


def test_contents_are_those_of_a_workspace_of_its_own(apart, workspace, tmp_path):
    copy = shutil.copytree(apart, tmp_path / "ws")
    shutil.copy(apart.parent / "tables" / "own.db", copy / "graph.db")
    assert contents(copy) == contents(workspace)
