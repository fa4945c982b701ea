"""The store: what each stage of a job writes into one database, and reads from it."""

from __future__ import annotations

from explgraph_storage.graphs import Graphs
from explgraph_storage.ledger import Ledger
from explgraph_storage.names import Names
from explgraph_storage.parts import Parts
from explgraph_storage.sources import Sources


class Store(Ledger, Sources, Graphs, Parts, Names):
    """The open database of a workspace; get one from `Store.open`.

    Runs and shards are in `Ledger`, photographs and objects in `Sources`, the graph in `Graphs`,
    semantic parts in `Parts`, names and repairs in `Names`.

    >>> with Store.open("sqlite://", mode="create") as store:
    ...     run = store.begin_run({"layers": ["conv"]}, command="mine")
    ...     store.finish_run(run)
    ...     [one.status for one in store.read_runs()]
    ['finished']
    """
