from dataclasses import replace

from builders.places import HEAD, OTHER, PLACES, TAIL

from explgraph.formats.part_place import UNSURE, by_photograph


def test_a_constant_guess_is_unsure_and_what_is_not_seen_says_so():
    assert [place.doubt for place in PLACES] == ["", "not visible", "unsure"]
    assert not replace(HEAD, expected_error=UNSURE - 1e-9).unsure
    assert replace(HEAD, visible=False).doubt == "not visible"


def test_places_are_sorted_by_photograph_and_object():
    assert by_photograph([TAIL, OTHER, HEAD]) == {"a.jpg": {4: [TAIL, HEAD]}, "b.jpg": {7: [OTHER]}}
