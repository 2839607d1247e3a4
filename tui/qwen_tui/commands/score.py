"""`qwen-tui score`: how surprising a text is to a model, by one prefill."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qwen_core.errors import QwenError, SettingsError, quote
from qwen_tui.commands.interrupt import INTERRUPTED, OK, Interrupt, interruptible
from qwen_tui.commands.logprobs import DIGITS, TokenTexts
from qwen_tui.commands.options import DTYPES, TokenIds, json_option
from qwen_tui.commands.output import fields_of, print_json, print_lines
from qwen_tui.commands.progress import progress_bar
from qwen_tui.commands.text_input import STANDARD_INPUT, read_input
from qwen_tui.text.token_text import token_text

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import LoadProgress, ModelSummary
    from qwen_core.protocol.scoring import TextScore
    from qwen_tui.text.score_lines import Surprise

MAX_TEXT_BYTES = 64_000_000


@dataclass(frozen=True)
class Scoring:
    """What came out: the score, its surprises, what their tokens write, and whose it is."""

    score: TextScore
    found: list[Surprise]
    texts: TokenTexts
    model: ModelSummary


@click.command()
@click.argument("words", metavar="[MODEL_DIR] [FILE]", nargs=-1)
@click.option("-p", "--prompt", metavar="TEXT", help="The text itself; - reads standard input, as a pipe does.")
@click.option("--prompt-ids", type=TokenIds(), metavar="1,2,3", help="Raw token ids: no tokenizer is needed.")
@json_option
@click.option("--dtype", type=click.Choice(DTYPES), metavar="TYPE", help="Compute in float32, bfloat16 or float16.")
def score(
    words: tuple[str, ...], prompt: str | None, prompt_ids: tuple[int, ...] | None, as_json: bool, dtype: str | None
) -> int:
    """Say how likely a text is: perplexity, bits a byte, the most surprising tokens.

    The text is FILE, or - for standard input, or -p's; one word that names a file is FILE, for the demo model. Each
    token is predicted from those before it, the first one not at all. The text is read as it stands: control tokens
    that it spells are ordinary text. Log-probabilities are in nats; --json has that of every token.
    """
    model_dir, file = split_words(words)
    asked = {"FILE": file, "-p": prompt, "--prompt-ids": prompt_ids}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} cannot be used together.")
    text = "" if prompt_ids is not None else read_text(file, prompt, model_dir)
    with interruptible() as interrupt:
        found = _scored(model_dir, text, prompt_ids or (), dtype, interrupt)
    if found is None:
        click.echo("qwen-tui: interrupted", err=True)
        return INTERRUPTED
    if as_json:
        print_json(_fields(found))
    else:
        from qwen_tui.text.score_lines import score_lines

        print_lines(score_lines(found.score, found.found, found.texts))
    return OK


def split_words(words: tuple[str, ...]) -> tuple[str | None, str | None]:
    """MODEL_DIR and FILE, either of which may be missing."""
    if len(words) > 2:
        raise click.UsageError("Too many words: there is one MODEL_DIR and one FILE.")
    if len(words) == 2:
        return words[0], words[1]
    if not words:
        return None, None
    return (None, words[0]) if words[0] == STANDARD_INPUT or Path(words[0]).is_file() else (words[0], None)


def read_text(file: str | None, prompt: str | None, model_dir: str | None) -> str:
    """The text to score. SettingsError where there is none, or it cannot be read. `model_dir`: a word that names no
    file."""
    if file is None and prompt not in (None, STANDARD_INPUT):
        text = prompt or ""
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise SettingsError("the text of -p is not UTF-8: convert it first")
    else:
        if file is None and sys.stdin.isatty():
            missing = f": there is no file {quote(model_dir)}" if model_dir and not Path(model_dir).exists() else ""
            raise click.UsageError(f"Nothing to score{missing}. Give FILE, -p TEXT, --prompt-ids, or a pipe.")
        text = read_input(file or STANDARD_INPUT, MAX_TEXT_BYTES, "the text ")
    if not text:
        raise SettingsError("the text is empty: give FILE, -p TEXT, or text on standard input")
    return text


def _scored(
    model_dir: str | None, text: str, ids: tuple[int, ...], dtype: str | None, interrupt: Interrupt
) -> Scoring | None:
    """None where it was interrupted."""
    from qwen_core import demo_model_path
    from qwen_core.checkpoint.locate import resolve_model_path
    from qwen_core.protocol.scoring import Score
    from qwen_core.session.completion import load_completion
    from qwen_tui.text.score_lines import surprises, tokens_shown

    path = demo_model_path() if model_dir is None else resolve_model_path(model_dir)
    with progress_bar() as show:

        def loading(step: LoadProgress) -> None:
            show(step.stage, step.done_bytes, step.total_bytes)

        try:
            with load_completion(path, dtype=dtype, progress=loading, stop=interrupt) as completion:
                asked = Score(0, ids, text=text, top=1)
                found = completion.score(
                    asked, stop=interrupt, progress=lambda done, total: show("reading the text", done, total)
                )
                if found is None:
                    return None
                texts, most = TokenTexts(), surprises(found)
                texts.learn(completion.spell, tokens_shown(found, most))
                return Scoring(found, most, texts, completion.summary())
        except QwenError:
            if interrupt.raised:
                return None
            raise


def _fields(found: Scoring) -> dict[str, Any]:
    score, texts, model = found.score, found.texts, found.model
    logprobs = [round(value, DIGITS) for value in score.probabilities.logprobs()]
    return {
        "perplexity": score.perplexity if score.perplexity != float("inf") else None,
        "bits_per_byte": score.bits_per_byte,
        "logprob": sum(logprobs),
        "tokens": len(score.ids),
        "predicted_tokens": len(logprobs),
        "bytes": score.nbytes or None,
        "surprising": [
            {
                "index": each.index,
                "id": each.token,
                "token": token_text(texts[each.token]),
                "logprob": round(each.step.logprob, DIGITS),
                "rank": each.step.rank,
                "entropy": round(each.step.entropy, DIGITS),
                "likeliest": {
                    "id": each.step.top[0][0],
                    "token": token_text(texts[each.step.top[0][0]]),
                    "logprob": round(each.step.top[0][1], DIGITS),
                },
            }
            for each in found.found
        ],
        "token_ids": score.ids,
        "logprobs": [*([None] * score.first), *logprobs],
        **fields_of(model, "device", "dtype"),
        "model": fields_of(model, "name", "path", "variant", "weight_bytes", "context_limit", "fingerprint"),
    }
