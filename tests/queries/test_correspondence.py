"""Which parts `correspondence_table` hides, and what it answers."""

import numpy as np
import pytest

from explgraph.errors import UsageError
from explgraph.images import read_source
from explgraph.network import load_network
from explgraph.queries import CorrespondenceOptions, correspondence_table, parse_box
from explgraph.queries.correspondence import _squares


@pytest.mark.parametrize("text", ["0,0,1,1", "head=0,0,1", "head=0,0,2,1", "head=a,b,c,d", "a=1"])
def test_a_box_of_another_form_is_misuse(text):
    with pytest.raises(UsageError, match="--box must be NAME=x,y,width,height"):
        parse_box(text)


def test_squares_are_moved_inside_and_hide_nothing_where_there_is_no_place():
    places = [np.array(place) for place in ([0.5, 0.5], [0.0, 1.0], [np.nan, 0.5], [1.2, 0.5])]
    boxes = _squares(places, 0.5, (40, 60))
    assert boxes[0].tolist() == [15, 10, 30, 20]
    assert boxes[1].tolist() == [30, 0, 30, 20]
    assert np.isnan(boxes[2:]).all()


def test_there_is_a_row_for_each_layer_and_part(scenes):
    network = load_network("builders.tiny_network:make")
    source = read_source(scenes.coco, limit=4)
    boxes = (("all", (0.0, 0.0, 1.0, 1.0)),)
    options = CorrespondenceOptions(landmarks=("head",), boxes=boxes, n_random=1)
    table = correspondence_table(network, source, ["features.2", "features.4"], options)
    found = {(row.layer, row.part) for row in table.rows}
    assert found == {(f"features.{k}", part) for k in (2, 4) for part in ("head", "all")}
    assert table.to_dict()["results"][0]["layer"] == table.rows[0].layer
    for side in (0, 1.5):
        with pytest.raises(UsageError, match="fraction of the input"):
            correspondence_table(
                network, source, ["features.2"], CorrespondenceOptions(("head",), side=side)
            )
