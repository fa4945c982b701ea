"""From feature maps to peaks: `find` on the device, `stream` by batches, `shards` on disk.

`find` takes the strongest local maxima of each map, `stream` does so for all objects of a source
while their images are decoded, and `extract` writes what comes out as `shards` of the peak store.
`peaks` is one layer of that store in memory: what mining and locating read; `at_hand` makes it of
images in memory, without a store. `deviations` measures the unit that all responses are given in,
and `chance` what filters answer where nothing keeps a place.
"""

from explgraph.peaks.at_hand import as_stored as as_stored
from explgraph.peaks.at_hand import peaks_at_hand as peaks_at_hand
from explgraph.peaks.chance import N_CHANCE as N_CHANCE
from explgraph.peaks.chance import chance_peaks as chance_peaks
from explgraph.peaks.deviations import N_SAMPLE as N_SAMPLE
from explgraph.peaks.deviations import load_deviations as load_deviations
from explgraph.peaks.deviations import measure_unit_std as measure_unit_std
from explgraph.peaks.deviations import sample_numbers as sample_numbers
from explgraph.peaks.deviations import sample_objects as sample_objects
from explgraph.peaks.deviations import save_deviations as save_deviations
from explgraph.peaks.deviations import unit_std_of as unit_std_of
from explgraph.peaks.extract import extract as extract
from explgraph.peaks.find import column_profiles as column_profiles
from explgraph.peaks.find import find_peaks as find_peaks
from explgraph.peaks.peaks import COLUMNS as COLUMNS
from explgraph.peaks.peaks import LayerPeaks as LayerPeaks
from explgraph.peaks.shards import SHARD_SIZE as SHARD_SIZE
from explgraph.peaks.shards import FinishedShard as FinishedShard
from explgraph.peaks.shards import ReadObject as ReadObject
from explgraph.peaks.shards import ShardContent as ShardContent
from explgraph.peaks.shards import read_layer as read_layer
from explgraph.peaks.shards import read_shard_content as read_shard_content
from explgraph.peaks.shards import shard_path as shard_path
from explgraph.peaks.shards import shard_ranges as shard_ranges
from explgraph.peaks.stream import MapPeaks as MapPeaks
from explgraph.peaks.stream import PeakSettings as PeakSettings
from explgraph.peaks.stream import stream_peaks as stream_peaks
