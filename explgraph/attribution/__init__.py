"""What in an image speaks for a class: maps in the frame of the network input, and the way to boxes and photographs."""

from explgraph.attribution.attribution import Attribution as Attribution
from explgraph.attribution.boxes import boxes_of as boxes_of
from explgraph.attribution.boxes import map_to_image as map_to_image
from explgraph.attribution.gradcam import gradcam as gradcam
from explgraph.attribution.gradcam import last_layer as last_layer
from explgraph.attribution.saliency import saliency as saliency
from explgraph.attribution.targets import Targets as Targets
from explgraph.attribution.targets import find_class as find_class
from explgraph.attribution.targets import resolve_target as resolve_target
