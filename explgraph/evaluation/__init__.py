"""How well a graph, or a semantic part, finds annotated landmarks; landmarks never steer mining.

`landmarks` scores the nodes of a layer, `purity` their best patches, by landmarks or by what raters
said, `few_shot` parts that were fitted from a few annotations.
"""

from explgraph.evaluation.few_shot import FewShotScore as FewShotScore
from explgraph.evaluation.few_shot import Split as Split
from explgraph.evaluation.few_shot import SplitScore as SplitScore
from explgraph.evaluation.few_shot import read_splits as read_splits
from explgraph.evaluation.few_shot import score_split as score_split
from explgraph.evaluation.few_shot import summarise_splits as summarise_splits
from explgraph.evaluation.landmarks import N_BEST as N_BEST
from explgraph.evaluation.landmarks import LayerScore as LayerScore
from explgraph.evaluation.landmarks import facing_accuracy as facing_accuracy
from explgraph.evaluation.landmarks import instability as instability
from explgraph.evaluation.landmarks import landmark_errors as landmark_errors
from explgraph.evaluation.landmarks import landmarks_in_boxes as landmarks_in_boxes
from explgraph.evaluation.landmarks import score_layer as score_layer
from explgraph.evaluation.purity import PurityScore as PurityScore
from explgraph.evaluation.purity import RatedPurity as RatedPurity
from explgraph.evaluation.purity import RatersScore as RatersScore
from explgraph.evaluation.purity import at_rest as at_rest
from explgraph.evaluation.purity import score_answers as score_answers
from explgraph.evaluation.purity import score_purity as score_purity
