"""What has a CNN learned? images -> feature maps -> peaks -> mixtures -> graph -> answers.

Each stage is a package that imports only the stages before it. The names to start with:

* look: `load_network`, `list_layers`, `measure_geometry`, `read_source`
* mine: `MineJob`, `MiningConfig`, `mine_workspace`, `mine`, `ExplanatoryGraph`
* ask a workspace: `Workspace`, `locate_source`, `fit_workspace_part`, `locate_parts`,
  `explain_images`, `evaluate_workspace`
* ask a network: `saliency`, `gradcam`, `guided_gradcam`, `deconvnet`, `guided_backprop`,
  `occlusion`, `ablation`, `correspondence`, `explain`, `draw_heat_maps`
* locate by hand: `Locator`
* hand on: `export_graph`

They are listed in ``__init__.pyi`` beside this file, and each is loaded when it is first asked
for, so that ``import explgraph`` costs nothing.

>>> import explgraph
>>> explgraph.MiningConfig().nodes
4
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
