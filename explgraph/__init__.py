"""images -> feature maps -> peaks -> mixtures -> graph -> answers -> files and pages.

A stage imports only the stages before it: `explgraph.images`, `explgraph.network`, `explgraph.peaks`, `explgraph.mining`,
`explgraph.graph`, `explgraph.locations.locator`, `explgraph.parts`, `explgraph.attribution`, `explgraph.evaluation`, `explgraph.formats`,
`explgraph.workspace`.
The names below are re-exported from them; each is loaded when first asked for, so that ``import explgraph`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explgraph.attribution import explain as explain
    from explgraph.attribution import gradcam as gradcam
    from explgraph.attribution import saliency as saliency
    from explgraph.formats import export_graph as export_graph
    from explgraph.graph import ExplanatoryGraph as ExplanatoryGraph
    from explgraph.images import read_source as read_source
    from explgraph.locations import Locator as Locator
    from explgraph.mining import MiningConfig as MiningConfig
    from explgraph.mining import mine as mine
    from explgraph.network import load_network as load_network
    from explgraph.network import measure_geometry as measure_geometry
    from explgraph.workspace import MineJob as MineJob
    from explgraph.workspace import Workspace as Workspace
    from explgraph.workspace import mine_workspace as mine_workspace

__version__ = "0.1.0"

_HOME = {
    "explain": "attribution",
    "gradcam": "attribution",
    "saliency": "attribution",
    "export_graph": "export",
    "ExplanatoryGraph": "graph",
    "read_source": "images",
    "Locator": "locations",
    "MiningConfig": "mining",
    "mine": "mining",
    "load_network": "network",
    "measure_geometry": "network",
    "MineJob": "workspace",
    "Workspace": "workspace",
    "mine_workspace": "workspace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'explgraph' has no attribute {name!r}")
    return getattr(import_module(f"explgraph.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
