"""Running a network from the middle: as a chain of stages, and on crops of maps."""
