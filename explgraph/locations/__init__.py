"""Where every node is on an image, and the table that keeps it."""

from explgraph.locations.at_hand import locate_images as locate_images
from explgraph.locations.locator import FOUND as FOUND
from explgraph.locations.locator import Locator as Locator
from explgraph.locations.locator import NodeLocations as NodeLocations
from explgraph.locations.locator import layer_peaks as layer_peaks
from explgraph.locations.table import CachedLocations as CachedLocations
from explgraph.locations.table import LocationWriter as LocationWriter
from explgraph.locations.table import location_table as location_table
from explgraph.locations.table import read_locations as read_locations
