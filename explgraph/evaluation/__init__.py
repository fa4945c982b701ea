"""Judging a graph against annotated landmarks."""

from explgraph.evaluation.landmarks import LayerScore as LayerScore
from explgraph.evaluation.landmarks import facing_accuracy as facing_accuracy
from explgraph.evaluation.landmarks import instability as instability
from explgraph.evaluation.landmarks import landmark_errors as landmark_errors
from explgraph.evaluation.landmarks import landmarks_in_boxes as landmarks_in_boxes
from explgraph.evaluation.landmarks import score_layer as score_layer
