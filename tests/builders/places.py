"""Places of parts on two photographs, one of them with two parts of one object."""

from dataclasses import replace

from explgraph.formats import PartPlace

HEAD = PartPlace(
    annotation_id=4,
    image="a.jpg",
    part="head",
    x=10.0,
    y=25.0,
    score=0.75,
    expected_error=0.0625,
    visible=True,
    template=2,
    mirrored=False,
    image_id=9,
    size=(40, 50),
    box=(1.0, 2.0, 30.0, 20.0),
    label="zebra",
    category_id=17,
)
TAIL = replace(HEAD, part="tail", x=30.0, y=5.0, score=0.25, expected_error=0.5, visible=False)
OTHER = PartPlace(
    annotation_id=7,
    image="b.jpg",
    part="tail",
    x=1.0,
    y=2.0,
    score=0.5,
    expected_error=0.15,
    visible=True,
    template=3,
    mirrored=True,
    image_id=3,
    size=(8, 4),
    box=(0.0, 0.0, 8.0, 4.0),
)
PLACES = (HEAD, TAIL, OTHER)
