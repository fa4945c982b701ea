"""``python -m explgraph`` is the command ``explgraph``."""

import sys

from explgraph.cli import main

sys.exit(main())
