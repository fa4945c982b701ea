"""Where the real photographs and weights lie; tests that need them are skipped without."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("EXPLGRAPH_SHARED", ROOT.parent / "shared"))
