from .job import LAYERS as LAYERS
from .job import MODEL as MODEL
from .job import DemoResult as DemoResult
from .job import run_demo as run_demo
from .pictures import DemoPictures as DemoPictures
from .pictures import unpack_pictures as unpack_pictures
