"""Images: where objects come from, how they become network inputs, and the exact way back to their pixels."""

from explgraph.images.decode import PADDING, DecodedBatch, decode_batches, load_image, load_input
from explgraph.images.frame import FITS, Box, Fit, Frame, clip_box, mirror
from explgraph.images.picture import MAX_PIXELS
from explgraph.images.source import IMAGE_SUFFIXES, ImageObject, Source, read_source

__all__ = [
    "FITS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "PADDING",
    "Box",
    "DecodedBatch",
    "Fit",
    "Frame",
    "ImageObject",
    "Source",
    "clip_box",
    "decode_batches",
    "load_image",
    "load_input",
    "mirror",
    "read_source",
]
