#!/usr/bin/env python3
"""Measure explgraph: scripts/benchmark.py --help lists the benchmarks."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "storage")]

from benchmarks import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
