"""What has a CNN learned? Part patterns, how they hang together, where they are in an image.

    import explgraph as xg

    found = xg.gradcam(model, "zebra.jpg", target=340)                    # any nn.Module
    graph = xg.mine_images(model, images, layers=["layer3", "layer4"])    # tensors in memory
    where = xg.locate_images(model, new_images, graph)

**Take a network**

* `load_network`: by name, from torchvision, timm or your own factory
* `wrap`: a module of your own, with its input size, normalisation and class names
* `list_layers`, `measure_geometry`: which layers there are, and what their cells look at

**Ask why** (model, images; each gives an `Attribution`)

* `gradcam`, `gradcam_plus_plus`, `layercam`, `guided_gradcam`: where a layer speaks for a class
* `saliency`, `smoothgrad`, `integrated_gradients`: which pixels do
* `deconvnet`, `guided_backprop`: which structure made an activation
* `occlusion`: what hiding each part of the image does
* `ablation`: what taking channels or nodes away does
* `explain`: which nodes of a graph a class rests on
* `correspondence`: whether hiding one part changes different images alike
* `show_attributions`: several of one image side by side, as a figure
* targets besides classes: `Activation` (a channel or a cell), `PlacedNode` (a node of a graph)

**Mine a graph**

* `mine_images`: of images in memory; `ExplanatoryGraphMiner`: the same in scikit-learn's manner
* `mine_workspace`, `MineJob`: of photographs, into a folder; goes on where it stopped
* `MiningConfig`: the settings; `mine`: from peaks; `ExplanatoryGraph`: what comes out

**Find its nodes**

* `locate_images`: in images in memory; `locate_source`: in photographs
* `Locator`: in peaks

**Open a workspace and ask it**

* `Workspace`: the folder; `Workspace.graph`, `Workspace.network`
* `describe_workspace`, `describe_node`: what the graph holds
* `draw_graph`, `draw_nodes`, `strong_nodes`: the same in pictures
* `explain_images`, `draw_heat_maps`: pictures of why
* `fit_workspace_part`, `Marked`, `locate_parts`, `draw_part`: a semantic part from a few marks
* `evaluate_workspace`: landmarks score the graph

**Read and hand on**

* `read_source`: the objects of a folder, a COCO file, or a list of images
* `export_graph`: for Gephi, Cytoscape, pandas
* `ProgressReport`: bars for long work, in a terminal and in a notebook

Each name is loaded when it is first asked for, so that ``import explgraph`` costs nothing. They are
listed in ``__init__.pyi`` beside this file.

>>> import explgraph as xg
>>> xg.gradcam(network, x, target="fox").maps.shape
torch.Size([2, 112, 112])
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
