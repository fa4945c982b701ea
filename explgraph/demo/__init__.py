"""Generated creatures with known parts, and the small CNN trained on them."""

from explgraph.demo.anatomy import PARTS, SPECIES, Species
from explgraph.demo.creatures import (
    DEMO_SPECIES,
    Creature,
    demo_dataset,
    draw_background,
    draw_creature,
    write_background,
    write_dataset,
)

__all__ = [
    "DEMO_SPECIES",
    "PARTS",
    "SPECIES",
    "Creature",
    "Species",
    "demo_dataset",
    "draw_background",
    "draw_creature",
    "write_background",
    "write_dataset",
]
