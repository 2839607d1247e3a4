"""Which programs have a conversation open: real processes over one file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwen_tui.store.open_marks import OpenMarks

PROGRAM = """
import sys
from pathlib import Path
from qwen_tui.store.open_marks import OpenMarks
marks = OpenMarks(Path(sys.argv[1]))
for line in sys.stdin:
    print(marks.look(int(line) if line.strip() else None), flush=True)
"""


class Other:
    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def look(self, conversation: int | None) -> bool:
        assert self.process.stdin is not None and self.process.stdout is not None
        print("" if conversation is None else conversation, file=self.process.stdin, flush=True)
        return self.process.stdout.readline() == "True\n"


@contextmanager
def other(path: Path) -> Iterator[Other]:
    program = Other(path)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


def test_both_programs_see_each_other_until_one_leaves(tmp_path: Path) -> None:
    path = tmp_path / "open"
    marks = OpenMarks(path)
    with other(path) as there:
        assert not marks.look(7)
        assert not there.look(8)
        assert there.look(7), "the second sees the first"
        assert marks.look(7), "and the first the second"
        assert there.look(7) and marks.look(7), "also at the next look"
        assert not there.look(None)
        assert not marks.look(7), "it has left this conversation"
        assert there.look(7)
    assert not marks.look(7), "it was killed"
    marks.close()
    assert list(tmp_path.iterdir()) == [path], "no file for each conversation"


def test_where_nothing_can_be_locked_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    marks = OpenMarks(tmp_path / "file" / "open")
    assert not marks.look(1)
    for odd in (None, -1, 1 << 80):
        assert not OpenMarks(tmp_path / "open").look(odd)
    marks.close()
