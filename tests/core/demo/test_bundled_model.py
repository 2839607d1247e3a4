"""The model that ships: small enough, in the published layout, with Qwen's control tokens and a working template."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from demo_training.vocabulary import ADDED_TOKENS
from qwen_core.demo import demo_model_path
from qwen_core.errors import QwenError
from qwen_core.text.template import ChatTemplate

MODEL = demo_model_path()
AFFINE = {"down_proj": 5, "embed_tokens": 6, "lm_head": 8} | dict.fromkeys(
    ("q_proj", "k_proj", "v_proj", "in_proj_qkv", "in_proj_z"), 6
)


def read_json(name: str) -> dict[str, Any]:
    return json.loads((MODEL / name).read_text(encoding="utf-8"))


def expected_tensors(tc: dict[str, Any]) -> dict[str, tuple[str, list[int]]]:
    """Every tensor of the published nvfp4 layout for this shape: name -> (dtype, shape)."""
    out: dict[str, tuple[str, list[int]]] = {}
    hidden, inter, heads = tc["hidden_size"], tc["intermediate_size"], tc["linear_num_value_heads"]
    values = heads * tc["linear_value_head_dim"]
    channels = 2 * tc["linear_num_key_heads"] * tc["linear_key_head_dim"] + values
    query, kv = (tc[f"num_{k}_heads"] * tc["head_dim"] for k in ("attention", "key_value"))

    def plain(name: str, *shape: int) -> None:
        out[name] = ("BF16", list(shape))

    def quantised(module: str, rows: int, columns: int) -> None:
        bits = AFFINE.get(module.rsplit(".", 1)[-1])
        group = 64 if bits else 16
        out[f"{module}.weight"] = ("U32", [rows, columns * (bits or 4) // 32])
        out[f"{module}.scales"] = ("BF16" if bits else "U8", [rows, columns // group])
        if bits:
            plain(f"{module}.biases", rows, columns // group)

    top = "language_model."
    quantised(f"{top}lm_head", tc["vocab_size"], hidden)
    quantised(f"{top}model.embed_tokens", tc["vocab_size"], hidden)
    plain(f"{top}model.norm.weight", hidden)
    for i, kind in enumerate(tc["layer_types"]):
        layer = f"{top}model.layers.{i}"
        plain(f"{layer}.input_layernorm.weight", hidden)
        plain(f"{layer}.post_attention_layernorm.weight", hidden)
        quantised(f"{layer}.mlp.gate_proj", inter, hidden)
        quantised(f"{layer}.mlp.up_proj", inter, hidden)
        quantised(f"{layer}.mlp.down_proj", hidden, inter)
        if kind == "full_attention":
            a = f"{layer}.self_attn"
            quantised(f"{a}.q_proj", 2 * query, hidden)
            quantised(f"{a}.k_proj", kv, hidden)
            quantised(f"{a}.v_proj", kv, hidden)
            plain(f"{a}.o_proj.weight", hidden, query)
            plain(f"{a}.q_norm.weight", tc["head_dim"])
            plain(f"{a}.k_norm.weight", tc["head_dim"])
        else:
            a = f"{layer}.linear_attn"
            quantised(f"{a}.in_proj_qkv", channels, hidden)
            quantised(f"{a}.in_proj_z", values, hidden)
            plain(f"{a}.in_proj_a.weight", heads, hidden)
            plain(f"{a}.in_proj_b.weight", heads, hidden)
            plain(f"{a}.out_proj.weight", hidden, values)
            plain(f"{a}.conv1d.weight", channels, tc["linear_conv_kernel_dim"], 1)
            plain(f"{a}.norm.weight", tc["linear_value_head_dim"])
            plain(f"{a}.A_log", heads)
            plain(f"{a}.dt_bias", heads)
    return out


def read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


def test_it_ships_in_at_most_six_megabytes() -> None:
    files = sorted(f.name for f in MODEL.iterdir())
    assert files == sorted((
        "chat_template.jinja", "config.json", "generation_config.json", "model-00001-of-00001.safetensors",
        "model.safetensors.index.json", "mtp.safetensors", "tokenizer.json", "tokenizer_config.json",
    ))  # fmt: skip
    assert sum(f.stat().st_size for f in MODEL.iterdir()) <= 6_000_000


def test_headers_and_index_are_the_published_layout() -> None:
    expected = expected_tensors(read_json("config.json")["text_config"])
    index = read_json("model.safetensors.index.json")
    found: dict[str, tuple[str, list[int]]] = {}
    size = 0
    for shard in sorted(set(index["weight_map"].values())):
        header = read_header(MODEL / shard)
        assert header.pop("__metadata__") == {"format": "mlx"}
        found |= {name: (t["dtype"], t["shape"]) for name, t in header.items()}
        size += max(t["data_offsets"][1] for t in header.values())
    assert found == expected
    assert set(index["weight_map"]) == set(expected)
    assert index["metadata"]["total_size"] == size


def test_config_writes_down_what_differs_from_nvfp4() -> None:
    config = read_json("config.json")
    expected: dict[str, Any] = {"group_size": 16, "bits": 4, "mode": "nvfp4"}
    for name in expected_tensors(config["text_config"]):
        module = name.removesuffix(".scales")
        bits = AFFINE.get(module.rsplit(".", 1)[-1])
        if name.endswith(".scales") and bits:
            expected[module] = {"bits": bits, "group_size": 64, "mode": "affine"}
    assert config["quantization"] == config["quantization_config"] == expected
    assert config["model_type"] == "qwen3_5"
    assert config["text_config"]["model_type"] == "qwen3_5_text"
    kinds = config["text_config"]["layer_types"]
    assert kinds == (["linear_attention"] * 3 + ["full_attention"]) * (len(kinds) // 4)


def test_the_tokenizer_has_qwens_control_tokens() -> None:
    data = read_json("tokenizer.json")
    assert {t["content"]: t["special"] for t in data["added_tokens"]} == ADDED_TOKENS
    assert len(ADDED_TOKENS) == 33
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    ids = [tokenizer.token_to_id(t) for t in ADDED_TOKENS]
    first = ids[0]
    assert first is not None
    assert ids == list(range(first, first + 33)), "in Qwen's order, behind the ordinary tokens"
    config, generation = read_json("config.json")["text_config"], read_json("generation_config.json")
    assert tokenizer.get_vocab_size() < config["vocab_size"], "the head is padded, as in the real checkpoint"
    assert config["vocab_size"] % 64 == 0
    assert config["eos_token_id"] == tokenizer.token_to_id("<|endoftext|>")
    assert generation["eos_token_id"] == [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]


@pytest.mark.parametrize("text", ["The capital of France is Paris.", "你好 😀", "naïve  \n\n\tx = 3.14;", "Ωß\u200d👩"])
def test_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


TEMPLATE = ChatTemplate((MODEL / "chat_template.jinja").read_text(encoding="utf-8"))
HISTORY = [
    {"role": "user", "content": " One? "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\n Yes. "},
    {"role": "user", "content": "Two?"},
]
HEAD = "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
TAIL = "Yes.<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_the_template_drops_old_reasoning_unless_told_to_keep_it() -> None:
    assert TEMPLATE.render(HISTORY) == HEAD + TAIL
    assert TEMPLATE.render(HISTORY, preserve_thinking=True) == HEAD + "<think>\nhm\n</think>\n\n" + TAIL
    assert TEMPLATE.render(HISTORY, enable_thinking=False) == HEAD + TAIL + "\n</think>\n\n"


def test_the_template_knows_tools() -> None:
    call = {"function": {"name": "f", "arguments": {"a": "b", "n": [1]}}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Go"}]},
        {"role": "assistant", "content": "", "reasoning_content": "why", "tool_calls": [call]},
        {"role": "tool", "content": "r1"},
        {"role": "tool", "content": "r2"},
    ]
    assert TEMPLATE.render(messages, add_generation_prompt=False) == (
        "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\n<tool_call>\n<function=f>\n"
        "<parameter=a>\nb\n</parameter>\n<parameter=n>\n[1]\n</parameter>\n</function>\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n</tool_response><|im_end|>\n"
    )
    system = TEMPLATE.render([{"role": "system", "content": "Be kind."}, messages[0]], tools=[{"name": "f"}])
    assert system.startswith("<|im_start|>system\n# Tools")
    assert '{"name": "f"}' in system
    assert "\n\nBe kind.<|im_end|>\n" in system


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "wizard", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "system", "content": "late"}],
        [{"role": "system", "content": "alone"}],
    ],
)
def test_the_template_refuses_what_it_cannot_render(messages: list[dict[str, str]]) -> None:
    with pytest.raises(QwenError):
        TEMPLATE.render(messages)
