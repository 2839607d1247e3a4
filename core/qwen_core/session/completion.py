"""`Completion`: continue raw token ids once, with no conversation, and with text only where there is a tokenizer."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CapacityError, SettingsError
from qwen_core.model.model import load_model
from qwen_core.protocol.events import GenerationSettings, LoadSettings, StreamEvent
from qwen_core.session.drafters import why_off
from qwen_core.session.foresight import check_fits, foresee
from qwen_core.session.generation_settings import merge_settings
from qwen_core.session.loading import LoadedModel, LoadModel, Progress, Stopped, load
from qwen_core.session.sampling import Sampler, resolve_sampling
from qwen_core.session.scoring import Scorer
from qwen_core.session.turn import Turn, TurnPlan
from qwen_core.text.piece_stream import PieceStream
from qwen_core.text.tokenizer import Tokenizer, check_tokenizer_fits, load_tokenizer


class Completion(Scorer):
    """A model that continues token ids. Every call starts from an empty state."""

    def __init__(self, loaded: LoadedModel, tokenizer: Tokenizer | None) -> None:
        super().__init__(loaded, tokenizer)
        self.tokenizer = tokenizer

    def complete(
        self,
        prompt_ids: Sequence[int],
        settings: GenerationSettings | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        **overrides: Any,
    ) -> Iterator[StreamEvent]:
        """Continue `prompt_ids`, as the events of a turn. Raises SettingsError for ids the model does not have,
        CapacityError for more of them than it takes or the memory holds."""
        settings = merge_settings(settings, overrides)
        vocab, context_limit = self.model.config.vocab_size, self.loaded.summary.context_limit
        if not prompt_ids:
            raise SettingsError("the prompt has no token ids: give at least one")
        for token in prompt_ids:
            if not 0 <= token < vocab:
                raise SettingsError(f"prompt id {token} is not one of this model's ids, 0 to {vocab - 1}")
        if len(prompt_ids) >= context_limit:
            raise CapacityError(
                f"the prompt has {len(prompt_ids):,} tokens and the model takes {context_limit:,}: shorten it"
            )
        foreseen = foresee(self.loaded, len(prompt_ids), len(prompt_ids))
        check_fits(foreseen, self.loaded, 0)
        state, vocab_limit = self.model.new_state(), self.tokenizer.size if self.tokenizer else vocab
        plan = TurnPlan(
            new_ids=list(prompt_ids),
            stop_ids=self.loaded.stop_ids,
            max_new_tokens=settings.max_new_tokens,
            foreseen_bytes=foreseen.total,
            drafting=self.loaded.drafters.drafting(settings.draft, settings.num_draft_tokens, (), state, vocab_limit),
            draft_off=why_off(settings.draft, settings.num_draft_tokens),
            logprobs=settings.logprobs,
        )
        # Raw ids have no turn that thinking could be off in: the recommendation without a presence penalty.
        parameters = resolve_sampling(settings, self.loaded.generation_config, thinking=True)
        sampler = Sampler(parameters, vocab_limit, vocab)
        sampler.note_prompt(plan.new_ids)
        pieces = PieceStream(self.tokenizer)
        yield from Turn(self.loaded, state, [], plan, sampler, pieces, stop).run()


def load_completion(
    path: str | Path,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Progress | None = None,
    stop: Stopped | None = None,
    load_model: LoadModel = load_model,
) -> Completion:
    """Load a model directory for raw token ids; a tokenizer is used where there is one."""
    checkpoint = open_checkpoint(path)
    tokenizer = load_tokenizer(checkpoint) if checkpoint.tokenizer_path else None
    if tokenizer:
        check_tokenizer_fits(tokenizer, checkpoint.config)
    loaded = load(checkpoint, dtype=dtype, settings=settings, progress=progress, stop=stop, load_model=load_model)
    return Completion(loaded, tokenizer)
