"""Images: where objects come from, how they become network inputs, and the way back to pixels.

`source` lists the objects of a folder, a COCO file or one image. `picture` opens one image file,
`orientation` turns it upright and `colour` brings its pixels to 8-bit grey or RGB. `decode` cuts
the boxes out, in batches and threads. `frame` holds the one rule by which places in the network
input are points of the photograph.
"""

from explgraph.images.decode import PADDING as PADDING
from explgraph.images.decode import DecodedBatch as DecodedBatch
from explgraph.images.decode import decode_batches as decode_batches
from explgraph.images.decode import load_image as load_image
from explgraph.images.decode import load_input as load_input
from explgraph.images.decode import picture_input as picture_input
from explgraph.images.frame import FITS as FITS
from explgraph.images.frame import Box as Box
from explgraph.images.frame import Boxes as Boxes
from explgraph.images.frame import Fit as Fit
from explgraph.images.frame import Frame as Frame
from explgraph.images.frame import clip_box as clip_box
from explgraph.images.frame import mirror as mirror
from explgraph.images.picture import MAX_PIXELS as MAX_PIXELS
from explgraph.images.picture import check_images as check_images
from explgraph.images.source import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from explgraph.images.source import AnyPath as AnyPath
from explgraph.images.source import ImageObject as ImageObject
from explgraph.images.source import Source as Source
from explgraph.images.source import choose_objects as choose_objects
from explgraph.images.source import pair_boxes as pair_boxes
from explgraph.images.source import read_source as read_source
from explgraph.images.source import with_boxes as with_boxes
