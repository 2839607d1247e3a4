"""`Session`: a conversation as a token sequence over one model state ("The way of a token" in core/README.md).

Owns which tokens belong to the conversation and which of them the state already holds; the arithmetic of a turn is
turn.py's, the text of a template chat_encoding.py's, getting a model into memory loading.py's.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.config import replaced_rope
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CheckpointError, SettingsError, quote
from qwen_core.protocol.events import (
    DraftMode,
    GenerationSettings,
    LoadSettings,
    Message,
    Piece,
    StateSaved,
    StreamEvent,
    text_of,
    with_late_reasoning,
)
from qwen_core.session.drafters import why_off
from qwen_core.session.foresight import check_fits, foresee
from qwen_core.session.generation_settings import merge_settings
from qwen_core.session.loading import LoadedModel, ModelOwner, Progress, Stopped, load
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.sampling import Sampler, resolve_sampling
from qwen_core.session.snapshots import SnapshotStore
from qwen_core.session.state_file import load_state, save_state
from qwen_core.session.turn import Turn, TurnPlan
from qwen_core.text.chat_encoding import encode_chat, turn_suffix
from qwen_core.text.effort import find_levels
from qwen_core.text.piece_stream import PieceStream
from qwen_core.text.reasoning import parse_tool_calls
from qwen_core.text.template import ChatTemplate, load_template
from qwen_core.text.template_process import TEMPLATE_PROCESS
from qwen_core.text.tokenizer import Tokenizer, check_tokenizer_fits, load_tokenizer

_MOST_LEFT = 4


@dataclass(frozen=True)
class _Run:
    """The ids of finished turns as they were fed, the messages they stand for, and whether they end in reasoning."""

    ids: tuple[int, ...]
    messages: tuple[Message, ...]
    reasoning_open: bool


class Session(ModelOwner):
    """A conversation with one model. Not thread-safe: everything happens on the thread that loaded the model.

    `ids` are exactly the tokens that were fed to the state. `conversation_ids` are those of the finished turns: the
    same, unless a turn was stopped while its prompt was read, an error emptied the state, or nothing was fed yet
    since `restore`. `messages` is the conversation as people see it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        system: str | None = None,
        snapshot_budget_bytes: int = LoadSettings.snapshot_budget_bytes,
    ) -> None:
        super().__init__(loaded)
        self.tokenizer = tokenizer
        self.template = template
        self.system = system
        self.messages: list[Message] = []
        self.ids: list[int] = []
        self.conversation_ids: list[int] = []
        self.state = self.model.new_state()
        self._snapshots = SnapshotStore(snapshot_budget_bytes)
        self._reasoning_open = False
        self._left: list[_Run] = []
        self.efforts = find_levels(template)
        loaded.summary = replace(
            loaded.summary,
            efforts=tuple(self.efforts.groups.items()),
            default_effort=self.efforts.default,
            thinking_levels=tuple(level for level in self.efforts.groups if level in self.efforts.thinking),
            thinks=self.efforts.thinks,
        )
        self._control = frozenset(tokenizer.special_tokens.values())
        self._im_end = tokenizer.token_to_id("<|im_end|>")
        self._stop_ids = loaded.stop_ids | ({self._im_end} if self._im_end is not None else set())

    def close(self) -> None:
        """Let go of the model's memory. The session takes no more turns."""
        self.release()
        super().close()

    def set_system(self, system: str | None) -> None:
        """Change the system prompt. The next turn renders the whole conversation again."""
        self.system = system

    def restore(self, messages: Sequence[Message], ids: Sequence[int] = (), system: str | None = None) -> None:
        """Put a conversation back: after a crash, on resume, or an earlier turn of this one, to take it elsewhere.

        `ids` are the tokens that were fed for `messages`, generated ones as generated; without them (or when one of
        them is no token of this model) the template renders the messages. The next turn prefills what neither the
        state nor the snapshot of an earlier turn holds.
        """
        self.system = system
        self.messages = list(messages)
        valid = all(0 <= token < self.model.config.vocab_size for token in ids)
        self.conversation_ids = list(ids) if valid else []
        self._reasoning_open = self._opens_reasoning(self.conversation_ids)

    def release(self) -> None:
        """Give the memory of the state and of the snapshots back: the next turn prefills all of its prompt."""
        self._snapshots.clear()
        self.ids = []
        self.state = self.model.new_state()

    def save_state(self, path: str | Path) -> StateSaved:
        """Write the state to a file, for `load_state` to go on from. Raises QwenError where that cannot be done."""
        if self.ids != self.conversation_ids:
            raise SettingsError("the state cannot be saved before the next answer: it does not hold the conversation")
        nbytes = save_state(Path(path), self.model, self.loaded.summary.fingerprint, self.ids, self.state)
        return StateSaved(str(path), len(self.ids), nbytes)

    def load_state(self, path: str | Path) -> int:
        """Take up a saved state of the conversation that `restore` put back; how many tokens need no prefill now.

        Raises QwenError, one line, for a file that does not fit; nothing has changed then.
        """
        ids, state = load_state(Path(path), self.model, self.loaded.summary.fingerprint, self.conversation_ids)
        self._snapshots.clear()
        self.ids, self.state = ids, state
        return len(ids)

    def draft_refusal(self, mode: DraftMode) -> str:
        """One line where the MTP layer is asked for and not there, or is there and cannot draft; "" for none."""
        return self.loaded.drafters.refusal(mode)

    def watch_experts(self, on: bool) -> None:
        """Whether events say which experts of a mixture were used (`StreamEvent.experts`); a dense model has none."""
        self.model.watch_experts(on)

    def send_stream(
        self,
        text: str,
        settings: GenerationSettings | None = None,
        *,
        stop: Stopped | None = None,
        **overrides: Any,
    ) -> Generator[StreamEvent, None, None]:
        """Answer `text`, as events; the last has `done=True` and `stats`.

        Settings may come as keywords: the fields of `GenerationSettings`, and `reasoning_effort` for `effort`.
        Stopping (by `stop`, or by closing the iterator) keeps the partial answer in the conversation. Raises
        QwenError before anything is fed if a setting is out of its range or the template fails.
        """
        settings = merge_settings(settings, overrides)
        kwargs = {**self.efforts.given(settings.effort), "preserve_thinking": not settings.drop_reasoning}
        chat = [*self._chat(), {"role": "user", "content": text}]
        if settings.drop_reasoning:
            target = encode_chat(self.template, self.tokenizer, chat, **kwargs)
            boundary = self._answer_boundary(chat, target, kwargs)
        else:
            target, boundary = self._target_ids(chat, kwargs), None
        before = [*self.messages, Message("user", text)]
        yield from self._turn(target, settings, stop, before=before, said=[], boundary=boundary)

    def continue_stream(
        self, settings: GenerationSettings | None = None, *, stop: Stopped | None = None, **overrides: Any
    ) -> Generator[StreamEvent, None, None]:
        """Go on with the last answer, which was stopped or reached a limit, as events like `send_stream`'s.

        Its message grows by what is said now. The answer's own tokens are prefilled once more: the state behind the
        last one has no logits. Raises SettingsError where there is nothing to go on with.
        """
        settings = merge_settings(settings, overrides)
        target = self.conversation_ids
        if not self.messages or self.messages[-1].role != "assistant":
            raise SettingsError("there is no answer to continue; ask something first")
        heads = self.efforts.variables.values() or ({},)
        if not target or not any(self._begins_alike(target, given) for given in heads):
            raise SettingsError("this answer cannot be continued, its tokens are not known; ask for more instead")
        if target[-1] in self._stop_ids:
            raise SettingsError("the last answer is complete, there is nothing to continue; ask for more instead")
        *before, last = self.messages
        said: list[Piece] = [("answer", last.content), ("reasoning", last.reasoning), ("tool_call", last.tool_calls)]
        yield from self._turn(list(target), settings, stop, before=before, said=said)

    def _turn(
        self,
        target: list[int],
        settings: GenerationSettings,
        stop: Stopped | None,
        *,
        before: Sequence[Message],
        said: list[Piece],
        boundary: int | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Answer what `target` ends with, and keep it behind the messages `before`, however it ends.

        `said` is what this answer has said already: something where one goes on.
        """
        in_reasoning = self._opens_reasoning(target)
        parameters = resolve_sampling(settings, self.loaded.generation_config, thinking=in_reasoning)
        foreseen = foresee(self.loaded, len(target), len(target) - self._known_of(target))
        left = check_fits(foreseen, self.loaded, self.state.nbytes)
        self._enter(target)
        self._snapshots.make_room(left)
        budget = settings.reasoning_budget
        count, vocab_limit = settings.num_draft_tokens, self.tokenizer.size
        drafting = self.loaded.drafters.drafting(settings.draft, count, self.ids, self.state, vocab_limit)
        plan = TurnPlan(
            new_ids=target[len(self.ids) :],
            stop_ids=frozenset(self._stop_ids),
            max_new_tokens=settings.max_new_tokens,
            snapshot_bytes=self._snapshots.nbytes,
            boundary=None if boundary is None else boundary - len(self.ids),
            at_boundary=lambda: self._snapshots.keep(self.ids, self.state),
            foreseen_bytes=foreseen.total,
            budget=BudgetWatch(budget, self.tokenizer.encode) if budget is not None else None,
            repetition_guard=RepetitionGuard() if settings.repetition_guard else None,
            drafting=drafting,
            draft_off=why_off(settings.draft, count),
        )
        sampler = Sampler(parameters, self.tokenizer.size, self.model.config.vocab_size)
        sampler.note_prompt(target)
        pieces = PieceStream(self.tokenizer, in_reasoning)
        said_before = len(text_of(said, "answer"))
        # An error inside a step leaves the arrays in a state nobody knows; at a yield they agree with `ids`.
        in_step = True
        try:
            for event in Turn(self.loaded, self.state, self.ids, plan, sampler, pieces, stop).run():
                said += event.pieces
                in_step = False
                yield event
                in_step = True
            in_step = False
        finally:
            if len(self.ids) >= len(target):
                said += pieces.flush()
                late = pieces.late_reasoning and said_before + pieces.late_reasoning
                kept = with_late_reasoning(said, late)
                parts = (text_of(kept, "answer"), text_of(kept, "reasoning"), text_of(kept, "tool_call"))
                self.messages = [*before, Message("assistant", *parts)]
                self.conversation_ids = list(self.ids)
                self._reasoning_open = pieces.reasoning_is_open
            if in_step:
                self.release()
            elif drafting is not None:
                self.loaded.drafters.ended(drafting, self.state)

    def _target_ids(self, chat: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> list[int]:
        """All ids of the conversation `chat`, whose last message is the next question, up to where the answer begins.

        The ids of finished turns are kept as they were generated whenever the template's own text can be appended
        to them, also those of an effort that the conversation comes back to; otherwise all of it is rendered again.
        """
        present = _Run(tuple(self.conversation_ids), tuple(self.messages), self._reasoning_open)
        for run in (present, *reversed(self._left)):
            told = len(run.messages)
            is_answered = told > 0 and run.messages[-1].role == "assistant"
            if run.ids and is_answered and run.messages == tuple(self.messages[:told]):
                ids = self._continued(run, chat, kwargs) if self._begins_alike(run.ids, kwargs) else None
                if ids is not None:
                    return ids
        return encode_chat(self.template, self.tokenizer, chat, **kwargs)

    def _continued(self, run: "_Run", chat: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> list[int] | None:
        """The ids of `run` and then the rest of `chat`; None where the template shows its last answer otherwise."""
        base, answer = run.ids, len(run.messages) - 1 + bool(self.system)
        # Reasoning and tool calls of that answer are in `base` already: only what follows them counts.
        last = {"role": "assistant", "content": run.messages[-1].content}
        whole = [*chat[:answer], last, *chat[answer + 1 :]]
        suffix = turn_suffix(self.template, self.tokenizer, whole, kwargs, answer)
        if suffix is None:
            return None
        if suffix and suffix[0] == self._im_end == base[-1]:
            suffix = suffix[1:]
        cut_off = run.reasoning_open and base[-1] not in self._stop_ids
        closing = self.tokenizer.encode("\n</think>\n\n") if cut_off else []
        return [*base, *closing, *suffix]

    def _begins_alike(self, ids: Sequence[int], kwargs: Mapping[str, Any]) -> bool:
        """Whether `ids` begin with what the template writes before the first message: an effort may change it."""
        chat: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        one, two = (
            encode_chat(
                *(self.template, self.tokenizer, [*chat, {"role": "user", "content": word}]),
                **{**kwargs, "add_generation_prompt": False},
            )
            for word in ("a", "1")
        )
        same = next((n for n, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
        # Up to the last control token: what follows it may be one token with the beginning of the message.
        while same and one[same - 1] not in self._control:
            same -= 1
        return list(ids[:same]) == one[:same]

    def _answer_boundary(self, chat: list[dict[str, Any]], target: list[int], kwargs: Mapping[str, Any]) -> int | None:
        """How many of the target ids stay the same once the answer's reasoning is dropped: a snapshot belongs there.

        That is where the text of the generation prompt and that of a finished answer part ways. None if it cannot
        be told.
        """
        answered = [*chat, {"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]
        later = encode_chat(self.template, self.tokenizer, answered, **kwargs)
        same = next((n for n, pair in enumerate(zip(target, later, strict=False)) if pair[0] != pair[1]), len(target))
        return same if 0 < same < len(target) else None

    def _chat(self) -> list[dict[str, Any]]:
        """The conversation as the template takes it."""
        chat: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for message in self.messages:
            entry: dict[str, Any] = {"role": message.role, "content": message.content}
            if message.role == "assistant":
                entry["reasoning_content"] = message.reasoning
                calls = parse_tool_calls(message.tool_calls)
                functions = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
                if functions:
                    entry["tool_calls"] = [{"type": "function", "function": function} for function in functions]
            chat.append(entry)
        return chat

    def _held_of(self, target: list[int]) -> int:
        """How many of the target's ids the state holds, as a proper prefix; -1 where it holds another sequence."""
        return len(self.ids) if len(self.ids) < len(target) and self.ids == target[: len(self.ids)] else -1

    def _known_of(self, target: list[int]) -> int:
        """How many of the target's first ids need no prefill."""
        kept = self._snapshots.longest_prefix(target)
        return max(0, self._held_of(target), len(kept.ids) if kept is not None else 0)

    def _enter(self, target: list[int]) -> None:
        """Bring state and `ids` to the longest known proper prefix of `target`, and remember where that was."""
        live = self._held_of(target)
        kept = self._snapshots.longest_prefix(target)
        # The conversation as another effort or system prompt has it: there is a way back to what was read of it.
        leaves = live < 0 and self.ids == self.conversation_ids and (kept is None or self._snapshots.is_aside(kept))
        if leaves:
            self._snapshots.set_aside(self.ids, self.state)
            self._left.append(_Run(tuple(self.ids), tuple(self.messages), self._reasoning_open))
            del self._left[:-_MOST_LEFT]
        if kept is not None and len(kept.ids) > live:
            self._snapshots.go_to(kept)
            self.state.restore(kept.snapshot)
            self.ids = list(kept.ids)
        elif leaves:
            self.state.begin_again()
            self.ids = []
        elif live < 0:
            self.release()
        if self.ids:
            self._snapshots.keep(self.ids, self.state)
        else:
            self._snapshots.trim()

    def _opens_reasoning(self, ids: Sequence[int]) -> bool:
        """Whether `ids` end inside a reasoning block: the last think token opens one, in the last message."""
        opening, closing = self.tokenizer.token_to_id("<think>"), self.tokenizer.token_to_id("</think>")
        for token in reversed(ids):
            if token in (closing, self._im_end) and token is not None:
                return False
            if token == opening and token is not None:
                return True
        return False


def load_session(
    path: str | Path,
    system: str | None = None,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
) -> Session:
    """Load a model directory with its tokenizer and chat template, and begin a conversation.

    Text files are checked before the first weight is read; a stretched context that lost its base on the way is
    refused: `load_model` computes it as transformers does, but nobody can talk with that. Without `settings` the
    built-in ones count: no file of the person's is read here. Raises QwenError with one line that says what is wrong.
    """
    checkpoint = open_checkpoint(path)
    if problem := replaced_rope(checkpoint.config, checkpoint.raw_config):
        raise CheckpointError(f"{quote(checkpoint.path / 'config.json')}: {problem}")
    TEMPLATE_PROCESS.start()
    tokenizer = load_tokenizer(checkpoint)
    check_tokenizer_fits(tokenizer, checkpoint.config)
    template = load_template(checkpoint)
    find_levels(template)
    settings = settings or LoadSettings()
    loaded = load(checkpoint, dtype=dtype, settings=settings, progress=progress, stop=stop)
    return Session(loaded, tokenizer, template, system=system, snapshot_budget_bytes=settings.snapshot_budget_bytes)
