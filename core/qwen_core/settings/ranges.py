"""What the numbers that shape an answer may be, and some words: one table for the command line, /set, config.toml, the
environment and the API. What each of them means is said in tree.py.

Penalties are as in the OpenAI API. A `top_p` of 0 is refused: some runtimes take it for "all tokens" (mlx-lm), others
for "the likeliest token alone" (llama.cpp, transformers), and what each of these asks for has a name of its own here,
top_p = 1 and temperature = 0.
"""

from collections.abc import Mapping
from types import MappingProxyType

from qwen_core.protocol.probabilities import MOST_TOP
from qwen_core.settings.kinds import Number, Words

SAMPLING: Mapping[str, Number] = MappingProxyType(
    {
        "temperature": Number(0, 100),
        "top_p": Number(0, 1, above=True),
        "top_k": Number(0, 2**31 - 1, whole=True),
        "min_p": Number(0, 1),
        "presence_penalty": Number(-2, 2),
        "frequency_penalty": Number(-2, 2),
        "repetition_penalty": Number(0.01, 100),
        "seed": Number(0, 2**64 - 1, whole=True),
    }
)
MAX_TOKENS = Number(1, 10_000_000, whole=True)
NUM_DRAFT_TOKENS = Number(0, 5, whole=True)
LOGPROBS = Number(1, MOST_TOP, whole=True)
REASONING_BUDGET = Number(1, 1_000_000, whole=True)
# Beyond, the share of a peak memory bandwidth and the ceiling it gives are no numbers to show.
PEAK_BANDWIDTH_GB_S = Number(0.001, 100_000)
GPU_CORES = Number(1, 10_000, whole=True)
SNAPSHOT_BUDGET_MB = Number(0, 1_000_000, whole=True)
HOSTS = Words(4096, accepts="a number of ranks, or the path of a host file")
