"""Draw the demo's pictures and pack them into the package.

    python scripts/draw_demo.py [--out FILE]

The same creatures come out each time: picture k follows from (seed, k). The JPEG files are those
of the Pillow that writes them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from creatures import DEMO_SPECIES, demo_dataset, write_dataset
from explgraph.demo.pictures import ARCHIVE

N_MINED, N_NEW = 120, 12
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    package = Path(__file__).parents[1] / "explgraph" / "demo"
    parser.add_argument("--out", type=Path, default=package / ARCHIVE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo_dataset(folder / "creatures", n=N_MINED)
        write_dataset(folder / "new-creatures", species=DEMO_SPECIES, n=N_NEW, seed=1)
        with ZipFile(options.out, "w") as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                entry = ZipInfo(path.relative_to(folder).as_posix(), LONG_AGO)
                archive.writestr(entry, path.read_bytes(), ZIP_DEFLATED)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
