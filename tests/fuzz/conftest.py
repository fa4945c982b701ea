"""The fuzz tests leave nothing in the checkout."""

import tempfile
from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

# Now, and not in a fixture: Hypothesis writes what it learns of the code from its first test on.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "explgraph-hypothesis")
