"""Programs that keep conversations in a process of their own, to be killed or to get in each other's way.

python -m support.store_programs stream DATABASE   turns without end; a line on stdout once each step is on disk
python -m support.store_programs share DATABASE NAME TURNS CONVERSATION   turns in two conversations, then ends
"""

import sys
from pathlib import Path

from qwen_core.protocol.events import Message
from qwen_tui.store import open_store

PIECES = 12


def stream(path: Path) -> None:
    """Say "asked Q", "began A", "part A n" and "done A" for what is on disk. An answer is "0 1 2 ..." in order."""
    store = open_store(path)
    conversation = store.conversations.begin()
    while True:
        question = store.answers.ask(conversation, "count")
        print("asked", question, flush=True)
        answer = store.answers.begin(question)
        print("began", answer, flush=True)
        for number in range(PIECES):
            store.answers.append(answer, [("answer", f"{number} ")], [number])
            print("part", answer, number, flush=True)
        text = "".join(f"{number} " for number in range(PIECES))
        store.answers.finish(answer, Message("assistant", text), "stop", tuple(range(PIECES)))
        print("done", answer, flush=True)


def share(path: Path, name: str, turns: int, shared: int) -> None:
    """Turns in a conversation of its own and in one that other programs write to, too."""
    store = open_store(path)
    own = store.conversations.begin(title=name)
    for number in range(turns):
        for conversation in (own, shared):
            answer = store.answers.begin(store.answers.ask(conversation, f"{name} {number}"))
            store.answers.append(answer, [("answer", f"{name} answers ")])
            store.answers.finish(answer, Message("assistant", f"{name} answers {number}"), "stop")
    store.close()


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        stream(Path(sys.argv[2]))
    else:
        share(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
