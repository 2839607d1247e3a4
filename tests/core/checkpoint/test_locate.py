"""What a person types for a model: a path, or owner/name in the local Hugging Face cache."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.locate import hub_cache, resolve_model_path
from qwen_core.errors import CheckpointError
from support.checkpoints import write_checkpoint

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, named by HF_HUB_CACHE."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def snapshot(cache: Path, repository: str, commit: str, *, age: int = 0, config: bool = True) -> Path:
    """A snapshot of `repository`, `age` seconds old."""
    path = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / commit
    path.mkdir(parents=True)
    if config:
        (path / "config.json").write_text("{}")
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def point(cache: Path, repository: str, content: str) -> None:
    reference = cache / f"models--{repository.replace('/', '--')}" / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(content)


def complaint(text: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve_model_path(text)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_exists_is_a_path_even_if_it_reads_like_a_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(cache, "owner/name", NEW)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert resolve_model_path("owner/name") == Path("owner/name")
    assert resolve_model_path(str(tmp_path / "owner")) == tmp_path / "owner"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model_path("~/owner") == tmp_path / "owner"


def test_what_is_no_file_is_no_pointer(cache: Path) -> None:
    """A named pipe would be waited on for ever, and what is large is no name of a commit."""
    snapshot(cache, "owner/name", OLD, age=100)
    newest = snapshot(cache, "owner/name", NEW)
    point(cache, "owner/name", OLD + " " * 1000)
    assert resolve_model_path("owner/name") == newest
    reference = newest.parent.parent / "refs" / "main"
    reference.unlink()
    os.mkfifo(reference)
    assert resolve_model_path("owner/name") == newest


def test_main_points_at_its_snapshot(cache: Path) -> None:
    wanted = snapshot(cache, "owner/name", OLD, age=100)
    newest = snapshot(cache, "owner/name", NEW)
    assert resolve_model_path("owner/name") == newest, "without a reference"
    point(cache, "owner/name", f"{OLD}\n")
    assert resolve_model_path("owner/name") == wanted


@pytest.mark.parametrize(
    "reference", ["c" * 40, "", "../../../outside", "..", f"{OLD}/../../../../outside", "\0", "\xff" * 9]
)
def test_a_reference_that_leads_nowhere_leaves_the_newest_complete_snapshot(reference: str, cache: Path) -> None:
    """Nor does one lead out of the repository, where a config.json waits."""
    (cache.parent / "outside").mkdir()
    (cache.parent / "outside" / "config.json").write_text("{}")
    snapshot(cache, "owner/name", OLD, age=100)
    newest = snapshot(cache, "owner/name", NEW, age=50)
    snapshot(cache, "owner/name", "d" * 40, config=False)
    point(cache, "owner/name", reference)
    assert resolve_model_path("owner/name") == newest


def test_without_a_reference_the_most_complete_snapshot_counts(cache: Path) -> None:
    """A newer one may be a download that was broken off, or have its text files alone."""
    whole = snapshot(cache, "owner/name", OLD, age=100, config=False)
    write_checkpoint(whole)
    (snapshot(cache, "owner/name", NEW) / "README.md").touch()
    broken_off = snapshot(cache, "owner/name", "e" * 40, config=False)
    write_checkpoint(broken_off)
    next(broken_off.glob("*.safetensors")).unlink()
    assert resolve_model_path("owner/name") == whole
    (whole / "config.json").unlink()
    assert resolve_model_path("owner/name") == broken_off


def test_a_name_that_is_not_in_the_cache_gives_the_command_that_downloads_it(cache: Path) -> None:
    for partial in (False, True):
        if partial:
            snapshot(cache, "owner/name", NEW, config=False)
        message = complaint("owner/name")
        assert "hf download owner/name" in message
        assert str(cache) in message


@pytest.mark.parametrize(
    "text",
    [
        "./owner/name", "owner/name/more", "owner", "../name", "owner/..", "owner/a..b", "-o/name", "owner/-name",
        "owner/na me", "owner/name;rm", "x" * 97 + "/name", "x" * 5000, "a/" + "x" * 5000, "nul\0byte", "\x1b[31m/x",
        "~nobody-has-this-name/model", "\ud800",
    ],
)  # fmt: skip
def test_anything_else_is_a_directory_that_does_not_exist(text: str, cache: Path) -> None:
    message = complaint(text)
    assert "does not exist" in message
    assert "download" not in message


@given(text=st.text(max_size=20) | st.from_regex(r"[~./a-z-]{1,12}", fullmatch=True))
def test_no_text_is_more_than_a_complaint(text: str) -> None:
    try:
        resolve_model_path(text)
    except CheckpointError as error:
        assert str(error).isprintable()


def test_the_cache_is_where_hugging_face_tools_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is set wins; an empty variable counts as not set."""
    variables = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    for variable in variables:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert hub_cache() == Path("/home/me/.cache/huggingface/hub")
    expected = ("/1", "/2", "/3/hub", "/4/huggingface/hub")
    for number, (variable, path) in reversed(list(enumerate(zip(variables, expected, strict=True), 1))):
        monkeypatch.setenv(variable, f"/{number}")
        assert hub_cache() == Path(path)
    monkeypatch.setenv("HF_HUB_CACHE", "")
    assert hub_cache() == Path("/2")
    monkeypatch.setenv("HF_HUB_CACHE", "~/models")
    assert hub_cache() == Path("/home/me/models")
    monkeypatch.setenv("HF_HUB_CACHE", "~nobody-has-this-name/models")
    assert hub_cache() == Path("~nobody-has-this-name/models")
