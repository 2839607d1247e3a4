"""Some of the damaged databases that `tests/tools/fuzz_databases.py` makes by the thousand."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_databases.py"


def test_of_a_damaged_database_nothing_is_lost_and_nothing_hangs(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--count", "50", "--seed", "1", "--processes", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("50 databases")
