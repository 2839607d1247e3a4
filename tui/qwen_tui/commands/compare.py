"""`qwen-tui compare A B`: one answer through two models, and where they part."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from qwen_core.errors import QwenError
from qwen_tui.commands.effort import check_effort
from qwen_tui.commands.interrupt import INTERRUPTED, OK, Interrupt, interruptible
from qwen_tui.commands.logprobs import TokenTexts
from qwen_tui.commands.options import TokenIds, generation_options, json_option, overrides_from
from qwen_tui.commands.output import output_width, print_json
from qwen_tui.commands.progress import Show, progress_bar
from qwen_tui.commands.run_answer import AnswerText
from qwen_tui.commands.run_request import RunRequest, read_request

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from pathlib import Path

    from qwen_core.protocol.comparison import Comparison
    from qwen_core.protocol.events import GenerationSettings, LoadProgress, LoadSettings, ModelSummary, StreamEvent
    from qwen_core.session.comparison import Kept
    from qwen_core.session.completion import Completion
    from qwen_core.session.session import Session

MOST_TOKENS = 512
"""Of an answer where nobody says: 0.5 GB of a published model's distributions in the temporary file."""


@dataclass
class Side:
    """One of the two: its model and its own answer."""

    model: ModelSummary
    answer: AnswerText
    prompt_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What came out."""

    a: Side
    b: Side
    comparison: Comparison
    texts: TokenTexts


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("-p", "--prompt", metavar="TEXT", help="The question; - reads standard input, as a pipe does.")
@click.option("--prompt-ids", type=TokenIds(), metavar="1,2,3", help="Raw token ids: no template, no tokenizer.")
@json_option
@generation_options
def compare(
    a: str,
    b: str,
    prompt: str | None,
    prompt_ids: tuple[int, ...] | None,
    as_json: bool,
    system: str | None,
    dtype: str | None,
    **options: Any,
) -> int:
    """Have model A answer, and model B say at each token what it would have said.

    B reads A's tokens, whatever it would have taken itself (teacher forcing). Told are the KL divergence of each step,
    in nats, where the likeliest tokens differ, and B's own answer to the same prompt. The two must have the same
    tokenizer, as variants of one model do; they are loaded one after the other. Answers are greedy unless --temperature
    is given, and of at most 512 tokens unless --max-tokens is.
    """
    check_effort(options["effort"], a)
    request = read_request(prompt, None, prompt_ids, system)
    from qwen_tui.settings.file import load_settings  # here: the program's --help needs none of it

    loaded = load_settings(overrides=overrides_from(options))
    for problem in loaded.problems:
        click.echo(f"qwen-tui: {problem}", err=True)
    settings = replace(
        loaded.settings.request(),
        temperature=options["temperature"] or 0.0,
        max_new_tokens=options["max_tokens"] or MOST_TOKENS,
        logprobs=None,
    )
    if request.prompt_ids is None and request.system is None:
        request = replace(request, system=loaded.settings.generation.system)
    with interruptible() as interrupt, progress_bar() as show:
        found = _compared((a, b), request, settings, loaded.settings.for_load(), dtype, interrupt, show)
    if found is None:
        click.echo("qwen-tui: interrupted", err=True)
        return INTERRUPTED
    from qwen_tui.commands.compare_report import as_fields, print_comparison

    if as_json:
        print_json(as_fields(found))
    else:
        print_comparison(found, output_width())
    return OK


def _compared(
    names: tuple[str, str],
    request: RunRequest,
    settings: GenerationSettings,
    load: LoadSettings,
    dtype: str | None,
    interrupt: Interrupt,
    show: Show,
) -> Compared | None:
    """None where it was interrupted."""
    from qwen_core.checkpoint.locate import resolve_model_path

    try:
        paths = [resolve_model_path(name) for name in names]
        vocabulary = _common_vocabulary(*paths)
        work = _Work(request, settings, load, dtype, interrupt, show)
        a, kept = work.answered(paths[0], vocabulary)
        with kept:
            return work.read(paths[1], a, kept) if len(kept.probabilities) else None
    except QwenError:
        if interrupt.raised:
            return None
        raise


def _common_vocabulary(a: Path, b: Path) -> int:
    """How many ids both models have logits for. Raises TextError where these are not the same tokens, which is found
    before anything is loaded.
    """
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.session.comparison import check_same_tokens
    from qwen_core.text.tokenizer import load_tokenizer

    checkpoints = [open_checkpoint(path) for path in (a, b)]
    check_same_tokens(*(load_tokenizer(one) if one.tokenizer_path else None for one in checkpoints))
    return min(one.config.vocab_size for one in checkpoints)


@dataclass(frozen=True)
class _Work:
    """What both models are asked, and who watches."""

    request: RunRequest
    settings: GenerationSettings
    load: LoadSettings
    dtype: str | None
    interrupt: Interrupt
    show: Show

    def answered(self, path: Path, vocabulary: int) -> tuple[Side, Kept]:
        """A's answer, and what it thinks of it. What is kept is of no token where that was interrupted."""
        from qwen_core.session.comparison import Answer, Kept

        with self._opened(path) as model:
            side = Side(model.summary(), AnswerText())
            for event in self._answer(model, "A answers"):
                side.answer.add(event)
                side.prompt_ids = event.prompt_ids or side.prompt_ids
            kept = Kept(Answer(side.prompt_ids, side.answer.token_ids), vocabulary)
            try:
                if not kept.read_by(model.loaded, self.interrupt, self._progress("A reads its answer")):
                    kept.probabilities = replace(kept.probabilities, data=b"")
            except BaseException:
                kept.__exit__(None, None, None)
                raise
        return side, kept

    def read(self, path: Path, a: Side, kept: Kept) -> Compared | None:
        """B's reading of that answer, and its own."""
        from qwen_core.session.completion import load_completion

        given: dict[str, Any] = {"settings": self.load, "progress": self._loading, "stop": self.interrupt}
        with load_completion(path, dtype=self.dtype, **given) as model:
            b = Side(model.summary(), AnswerText())
            comparison = kept.against(model.loaded, self.interrupt, self._progress("B reads A's answer"))
            if comparison is None:
                return None
            events = model.complete(a.prompt_ids, self.settings, stop=self.interrupt)
            for event in self._shown(events, "B answers"):
                b.answer.add(event)
            texts = TokenTexts()
            for probabilities in (comparison.a, comparison.b):
                texts.learn_all(model.spell, comparison.ids, probabilities)
        return None if self.interrupt.raised else Compared(a, b, comparison, texts)

    @contextmanager
    def _opened(self, path: Path) -> Generator[Session | Completion, None, None]:
        from qwen_core.session.completion import load_completion
        from qwen_core.session.opening import load_session

        given: dict[str, Any] = {"settings": self.load, "progress": self._loading, "stop": self.interrupt}
        if self.request.prompt_ids is not None:
            with load_completion(path, dtype=self.dtype, **given) as completion:
                yield completion
        else:
            with load_session(path, self.request.system, dtype=self.dtype, **given) as session:
                yield session

    def _answer(self, model: Session | Completion, words: str) -> Iterable[StreamEvent]:
        from qwen_core.session.completion import Completion

        if isinstance(model, Completion):
            return self._shown(model.complete(self.request.prompt_ids or (), self.settings, stop=self.interrupt), words)
        return self._shown(model.send_stream(self.request.text, self.settings, stop=self.interrupt), words)

    def _shown(self, events: Iterable[StreamEvent], words: str) -> Iterable[StreamEvent]:
        most = self.settings.max_new_tokens or MOST_TOKENS
        said = 0
        for event in events:
            said += len(event.token_ids)
            self.show(f"{words}, {said:,} tokens", said, most)
            yield event

    def _progress(self, words: str) -> Any:
        return lambda done, total: self.show(words, done, total)

    def _loading(self, step: LoadProgress) -> None:
        self.show(step.stage, step.done_bytes, step.total_bytes)
