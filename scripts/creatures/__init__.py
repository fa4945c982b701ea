"""Generated creatures with known parts: what the demo's pictures and its network come from.

`brush` draws tapered tubes with the patterns of `coats`; `members` makes heads, tails and legs of
them, `anatomy` whole bodies in a pose; `scenery` is what stands around; `creature` puts one picture
together, `dataset` writes many. Everything follows from a seed.
"""

from creatures.anatomy import PARTS as PARTS
from creatures.anatomy import SPECIES as SPECIES
from creatures.anatomy import Species as Species
from creatures.creature import REGIONS as REGIONS
from creatures.creature import Creature as Creature
from creatures.creature import draw_background as draw_background
from creatures.creature import draw_creature as draw_creature
from creatures.dataset import DEMO_SPECIES as DEMO_SPECIES
from creatures.dataset import demo_dataset as demo_dataset
from creatures.dataset import write_background as write_background
from creatures.dataset import write_dataset as write_dataset
