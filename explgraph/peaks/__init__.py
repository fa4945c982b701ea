"""Feature maps -> peaks on the device -> the columnar peak store."""

from explgraph.peaks.deviations import N_SAMPLE as N_SAMPLE
from explgraph.peaks.deviations import measure_unit_std as measure_unit_std
from explgraph.peaks.deviations import sample_objects as sample_objects
from explgraph.peaks.extract import FinishedPart as FinishedPart
from explgraph.peaks.extract import extract as extract
from explgraph.peaks.extract import part_path as part_path
from explgraph.peaks.extract import shards as shards
from explgraph.peaks.find import column_profiles as column_profiles
from explgraph.peaks.find import find_peaks as find_peaks
from explgraph.peaks.peaks import COLUMNS as COLUMNS
from explgraph.peaks.peaks import LayerPeaks as LayerPeaks
from explgraph.peaks.shards import PartContent as PartContent
from explgraph.peaks.shards import ReadObject as ReadObject
from explgraph.peaks.shards import read_content as read_content
from explgraph.peaks.shards import read_layer as read_layer
from explgraph.peaks.stream import MapPeaks as MapPeaks
from explgraph.peaks.stream import PeakSettings as PeakSettings
from explgraph.peaks.stream import stream_peaks as stream_peaks
