"""What in an image speaks for a class, a channel or a node of the graph.

``target`` says what is asked, ``forward`` runs the pass that answers, ``shown`` makes the input of
images of any kind, ``view`` is what the network is shown of an object, ``attribution`` the result.
Then one module per method: ``saliency``, ``integrated_gradients``, ``gradcam``, ``deconv`` (with
``rectified``), ``occlusion``, ``correspondence``, ``ablation``, ``node_maps``, ``explain``.
``boxes`` and ``graphcut`` lead from a map to the object it points at.
"""

from explgraph.attribution.ablation import Ablation as Ablation
from explgraph.attribution.ablation import ablated as ablated
from explgraph.attribution.ablation import ablation as ablation
from explgraph.attribution.attribution import Attribution as Attribution
from explgraph.attribution.attribution import Targets as Targets
from explgraph.attribution.boxes import THRESHOLD as THRESHOLD
from explgraph.attribution.boxes import boxes_of as boxes_of
from explgraph.attribution.boxes import map_to_image as map_to_image
from explgraph.attribution.correspondence import Correspondence as Correspondence
from explgraph.attribution.correspondence import correspondence as correspondence
from explgraph.attribution.deconv import deconvnet as deconvnet
from explgraph.attribution.deconv import guided_backprop as guided_backprop
from explgraph.attribution.deconv import strongest_activations as strongest_activations
from explgraph.attribution.explain import NODES_TESTED as NODES_TESTED
from explgraph.attribution.explain import Explanation as Explanation
from explgraph.attribution.explain import NodeEvidence as NodeEvidence
from explgraph.attribution.explain import explain as explain
from explgraph.attribution.forward import ask as ask
from explgraph.attribution.forward import differentiable as differentiable
from explgraph.attribution.forward import gradient_at as gradient_at
from explgraph.attribution.forward import is_classifier as is_classifier
from explgraph.attribution.gradcam import gradcam as gradcam
from explgraph.attribution.gradcam import gradcam_plus_plus as gradcam_plus_plus
from explgraph.attribution.gradcam import guided_gradcam as guided_gradcam
from explgraph.attribution.gradcam import last_layer as last_layer
from explgraph.attribution.gradcam import layercam as layercam
from explgraph.attribution.graphcut import Segmentation as Segmentation
from explgraph.attribution.graphcut import segment as segment
from explgraph.attribution.head import as_scores as as_scores
from explgraph.attribution.head import is_multi_label as is_multi_label
from explgraph.attribution.head import probabilities as probabilities
from explgraph.attribution.integrated_gradients import (
    integrated_gradients as integrated_gradients,
)
from explgraph.attribution.node_maps import node_box as node_box
from explgraph.attribution.node_maps import node_heat_map as node_heat_map
from explgraph.attribution.node_maps import receptive_field as receptive_field
from explgraph.attribution.occlusion import Occlusion as Occlusion
from explgraph.attribution.occlusion import occlusion as occlusion
from explgraph.attribution.saliency import saliency as saliency
from explgraph.attribution.saliency import smoothgrad as smoothgrad
from explgraph.attribution.shown import Images as Images
from explgraph.attribution.shown import Shown as Shown
from explgraph.attribution.shown import network_input as network_input
from explgraph.attribution.shown import show as show
from explgraph.attribution.target import Activation as Activation
from explgraph.attribution.target import PlacedNode as PlacedNode
from explgraph.attribution.target import Target as Target
from explgraph.attribution.target import class_names as class_names
from explgraph.attribution.target import find_class as find_class
from explgraph.attribution.target import resolve_target as resolve_target
from explgraph.attribution.view import NodeView as NodeView
from explgraph.attribution.view import View as View
from explgraph.attribution.view import plain_views as plain_views
from explgraph.attribution.view import read_views as read_views
