"""Runs every Python scenario, one after the other, and says which failed."""

import subprocess
import sys
from pathlib import Path

SCENARIOS = ["tokens", "join", "data", "publish", "e2ee"]

folder = Path(__file__).parent
failed = [
    name for name in SCENARIOS if subprocess.call([sys.executable, str(folder / f"{name}.py")]) != 0
]
print(f"Failed: {', '.join(failed)}" if failed else "All scenarios passed.")
sys.exit(1 if failed else 0)
