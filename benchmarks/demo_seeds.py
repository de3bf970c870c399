"""Whether the demo's network finds the tumours, whatever the seed: python benchmarks/demo_seeds.py [SEED ...] (0 1 2).

Each seed draws other patients, another split and other weights. Runs ``docs/demo.sh`` with the ``imagemask`` beside
this Python, in a temporary folder, and prints the median Dice of a test patient and the minutes of the whole demo.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import judged

DICE, MINUTES = 0.80, 5.0
DEMO = Path(__file__).resolve().parent.parent / "docs" / "demo.sh"


def main() -> None:
    for seed in sys.argv[1:] or ("0", "1", "2"):
        with tempfile.TemporaryDirectory() as home:
            here = Path(home, "demo")
            began = time.perf_counter()
            command = ["bash", str(DEMO), str(Path(sys.executable).parent), str(here)]
            done = subprocess.run(
                command, env={**os.environ, "DEMO_SEED": seed}, capture_output=True, text=True, check=False
            )
            minutes = (time.perf_counter() - began) / 60
            table = here / "runs" / "lung-tumor" / "001" / "test" / "evaluation.csv"
            if not table.is_file():
                raise SystemExit(f"seed {seed}: the demo ended with {done.returncode}: {done.stderr}")
            with table.open() as lines:
                values = {row["metric"]: float(row["value"]) for row in csv.DictReader(lines) if row["value"]}
        print(judged(f"seed {seed}: Dice of the median test patient", values["dice_median"], DICE, unit=""))
        print(judged(f"seed {seed}: minutes", minutes, MINUTES, least=False, unit=""))


if __name__ == "__main__":
    main()
