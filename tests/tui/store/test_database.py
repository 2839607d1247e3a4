"""The file itself: whose it is, how it is damaged, who may read it, and what is said when it cannot be used."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_core.errors import QwenError
from qwen_tui.store import StoreError, open_store, store_path
from qwen_tui.store import database as module
from qwen_tui.store.schema import APPLICATION_ID, LATEST, MIGRATIONS, migrate
from support.stores import opened, shown, turn


def test_the_file_is_in_the_data_folder_for_its_owner_alone(home: Path) -> None:
    store = open_store()
    turn(store, store.conversations.begin(), "Q", "A")
    assert store.path == store_path() == home / "data" / "conversations.db"
    assert {path.stat().st_mode & 0o077 for path in (home / "data").rglob("*")} == {0}
    store.close()
    assert {path.name for path in (home / "data").iterdir()} == {"conversations.db", "writers"}


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.close()


def test_the_schema_is_numbered_and_marked_as_ours(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "conversations.db")) as store:
        assert store.database.read("PRAGMA user_version")[0][0] == LATEST == len(MIGRATIONS)
        assert store.database.read("PRAGMA application_id")[0][0] == APPLICATION_ID
        assert store.database.read("PRAGMA journal_mode")[0][0] == "wal"
        assert store.database.read("PRAGMA synchronous")[0][0] == 2
        assert store.database.read("PRAGMA foreign_keys")[0][0] == 1


STRANGE = {
    "a view that never ends": "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
    "SELECT i FROM n",
    "a trigger that deletes": "CREATE TRIGGER t AFTER INSERT ON inputs BEGIN DELETE FROM messages; END",
    "a trigger for the search": "CREATE TRIGGER t AFTER INSERT ON search_data BEGIN DELETE FROM messages; END",
    "a trigger that is called like SQLite's own": "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES "
    "('trigger', 'sqlite_t', 'inputs', 0, 'CREATE TRIGGER sqlite_t AFTER INSERT ON inputs BEGIN DELETE FROM messages; "
    "END')",
    # A check runs within one call of SQLite's, which nothing can end.
    "a check in a table of SQLite's own": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
    "'CREATE TABLE sqlite_sequence(name,seq,CHECK(hex(zeroblob(9)) > 1))' WHERE name = 'sqlite_sequence'",
    "a check in a table of the search": "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
    "'CREATE TABLE ''search_config''(k PRIMARY KEY, v, CHECK(v > hex(zeroblob(9)))) WITHOUT ROWID' "
    "WHERE name = 'search_config'",
    "a missing column": "ALTER TABLE messages DROP COLUMN shown",
    "a missing table": "DROP TABLE inputs",
    "a table of its own": "CREATE TABLE other (a)",
    "an index of its own": "CREATE INDEX other ON inputs (text)",
    "a title that is no text": "UPDATE conversations SET title = x'00ff'",
    "a time that is text": "UPDATE messages SET created_at = 'yesterday'",
    "ids that are a number": "UPDATE messages SET ids = 7",
    "numbers that have run out": "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "a number that is the last one": "UPDATE inputs SET id = 9223372036854775807",
}


@pytest.mark.parametrize("script", STRANGE.values(), ids=STRANGE)
def test_what_this_program_did_not_make_is_set_aside_whole(script: str, tmp_path: Path) -> None:
    """It might run without end, delete in silence, or be read as what it is not."""
    path = tmp_path / "conversations.db"
    with opened(tmp_path) as store:
        turn(store, store.conversations.begin(), "Q", "A")
        store.writing.remember("Q")
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(script)
    with opened(tmp_path) as store:
        (notice,) = store.notices
        assert "damaged" in notice
        assert store.conversations.listed() == []
        turn(store, store.conversations.begin(), "anew", "A")
    (kept,) = (entry for entry in tmp_path.iterdir() if ".damaged-" in entry.name and entry.name.count("-") == 2)
    with closing(sqlite3.connect(kept)) as raw:
        assert raw.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    with opened(tmp_path) as store:
        assert store.notices == []


def test_later_migrations_are_applied_once_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        turn(store, store.conversations.begin(), "Q", "A")
    broken = "ALTER TABLE messages ADD COLUMN later TEXT;\nCREATE TABLE models (again INTEGER)"
    monkeypatch.setattr("qwen_tui.store.schema.MIGRATIONS", (*MIGRATIONS, broken))
    monkeypatch.setattr("qwen_tui.store.schema.LATEST", LATEST + 1)
    monkeypatch.setattr(module, "LATEST", LATEST + 1)
    with pytest.raises(StoreError, match="already exists"), opened(tmp_path):
        pass
    good = "ALTER TABLE messages ADD COLUMN later TEXT NOT NULL DEFAULT 'new';\n"
    monkeypatch.setattr("qwen_tui.store.schema.MIGRATIONS", (*MIGRATIONS, good))
    for _ in range(2):
        with opened(tmp_path) as store:
            assert store.database.read("PRAGMA user_version")[0][0] == LATEST + 1
            assert [row["later"] for row in store.database.read("SELECT later FROM messages")] == ["new", "new"]


def test_a_file_of_the_first_version_gets_what_came_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("qwen_tui.store.schema.MIGRATIONS", MIGRATIONS[:1])
        before.setattr("qwen_tui.store.schema.LATEST", 1)
        connection = sqlite3.connect(tmp_path / "conversations.db", isolation_level=None)
        migrate(connection)
        connection.execute("INSERT INTO conversations (title, created_at, updated_at) VALUES ('old', 1, 1)")
        connection.execute(
            "INSERT INTO messages (conversation_id, role, content, created_at) VALUES (1, 'user', 'Q', 1)"
        )
        connection.execute("UPDATE conversations SET chosen_root = 1")
        connection.close()
    with opened(tmp_path) as store:
        assert store.database.read("PRAGMA user_version")[0][0] == LATEST
        assert [(message.content, message.shown) for message in store.tree.path(1)] == [("Q", "")]


def test_a_newer_file_and_that_of_another_program_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    with opened(tmp_path):
        pass
    for change, words in (
        (f"PRAGMA user_version = {LATEST + 1}", "newer qwen-tui"),
        ("PRAGMA application_id = 1", "another program"),
    ):
        connection = sqlite3.connect(path)
        connection.execute(change)
        connection.commit()
        connection.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match=words), opened(tmp_path):
            pass
        assert path.read_bytes() == before
        assert not list(tmp_path.glob("*damaged*"))


@limits(max_examples=30)
@given(
    st.binary(min_size=1, max_size=3000) | st.binary(min_size=100, max_size=100).map(lambda b: b"SQLite format 3\0" + b)
)
def test_what_is_no_database_is_moved_aside_and_told(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("store")
    (folder / "conversations.db").write_bytes(content)
    with opened(folder) as store:
        (notice,) = store.notices
        (kept,) = folder.glob("*damaged*")
        assert str(kept) in notice
        assert kept.read_bytes() == content
        conversation = store.conversations.begin()
        turn(store, conversation, "Q", "A")
        assert shown(store, conversation) == ["Q", "A"]
    with opened(folder) as store:
        assert store.notices == []


def test_a_format_that_sqlite_reads_and_does_not_write_is_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        turn(store, store.conversations.begin(), "Q", "A")
    content = bytearray((tmp_path / "conversations.db").read_bytes())
    content[18] = 7
    (tmp_path / "conversations.db").write_bytes(content)
    with opened(tmp_path) as store:
        assert "its format is unknown" in store.notices[0]
        turn(store, store.conversations.begin(), "Q", "A")


def test_the_log_of_a_damaged_file_is_kept_with_it(tmp_path: Path) -> None:
    """SQLite's own tools may rescue both, and the new file must not take up the log of the old one."""
    (tmp_path / "conversations.db").write_bytes(b"no database")
    (tmp_path / "conversations.db-wal").write_bytes(b"its log")
    with opened(tmp_path) as store:
        assert store.conversations.listed() == []
        (log,) = tmp_path.glob("*.damaged-*-wal")
        assert log.read_bytes() == b"its log"


@limits(max_examples=25)
@example(48, 21)
@given(st.integers(0, 1 << 16), st.integers(1, 4096))
def test_what_is_in_the_log_of_a_killed_program_outlives_damage_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, place: int, length: int
) -> None:
    source, folder = tmp_path_factory.mktemp("running"), tmp_path_factory.mktemp("store")
    with opened(source) as store:
        turn(store, store.conversations.begin(), "before", "A")
    with opened(source) as store:
        conversation = store.conversations.latest()
        assert conversation is not None
        turn(store, conversation.id, "needle in the log", "A")
        before = shown(store, conversation.id)
        for end in ("", "-wal"):  # as they lie there at the moment of a kill
            shutil.copy(f"{source / 'conversations.db'}{end}", f"{folder / 'conversations.db'}{end}")
    content = bytearray((folder / "conversations.db").read_bytes())
    place %= len(content)
    content[place : place + length] = b"\xa5" * len(content[place : place + length])
    (folder / "conversations.db").write_bytes(content)
    try:
        with opened(folder) as store:
            if store.notices:
                assert any(b"needle in the log" in path.read_bytes() for path in folder.glob("*.damaged-*"))
            else:
                assert shown(store, conversation.id) == before
    except StoreError as error:  # what says whose file it is may be among the damage
        assert str(folder / "conversations.db") in str(error)
        assert any(b"needle in the log" in path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_schema_that_is_no_text_is_damage(tmp_path: Path, place: int) -> None:
    """SQLite quotes it in its message, which then is no text either."""
    path = tmp_path / "conversations.db"
    with opened(tmp_path):
        pass
    content = path.read_bytes()
    names = (b"tablemodels", b"tableconversations", b"tablemessages")
    name = names[place - 1]
    path.write_bytes(content.replace(name, name[:5] + b"\xa5" * (len(name) - 5)))
    with opened(tmp_path) as store:
        assert "is kept as" in store.notices[0]


@limits(max_examples=25)
@given(st.integers(0, 1 << 20), st.integers(1, 4096))
def test_a_file_overwritten_in_the_middle_loses_nothing_silently(
    tmp_path_factory: pytest.TempPathFactory, place: int, length: int
) -> None:
    """Either it is still all there, or the damaged file is kept and named."""
    folder = tmp_path_factory.mktemp("store")
    path = folder / "conversations.db"
    with opened(folder) as store:
        conversation = store.conversations.begin()
        for number in range(5):
            turn(store, conversation, f"Q{number} " + "text " * 200, f"A{number} " + "more " * 200)
        before = shown(store, conversation)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + length] = b"\xa5" * len(content[place : place + length])
    path.write_bytes(content)
    try:
        with opened(folder) as store:
            if store.notices:
                (kept,) = folder.glob("*.damaged*")
                assert kept.read_bytes()[100:] == content[100:]
                assert store.conversations.listed() == []
            else:
                after = shown(store, conversation)
                assert len(after) == len(before) or b"\xa5" in "".join(after).encode()
    except StoreError as error:
        assert str(path) in str(error)
        assert path.read_bytes()[200:] == content[200:]


def test_damage_met_later_is_told_and_the_file_looked_through_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKED_BYTES", 0)  # as with a file too large to be checked at every start
    path = tmp_path / "conversations.db"
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        for number in range(40):
            turn(store, conversation, f"Q{number} " + "text " * 300, "A")
    content = bytearray(path.read_bytes())
    page = content.index(b"Q20 text") // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged; the next start keeps it aside"), opened(tmp_path) as store:
        store.tree.path(conversation)
    with opened(tmp_path) as store:
        (notice,) = store.notices
        assert "is kept as" in notice
        assert store.conversations.listed() == []


def test_a_file_that_takes_too_long_to_check_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        turn(store, store.conversations.begin(), "Q", "A")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
    sound = module.strange_value

    def slow(connection: sqlite3.Connection) -> str:
        old = connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        return str(connection.execute(endless).fetchone()) if old else sound(connection)

    monkeypatch.setattr(module, "strange_value", slow)
    monkeypatch.setattr(module, "CHECK_S", 0.0)
    with opened(tmp_path) as store:
        (notice,) = store.notices
        assert "takes too long" in notice
        turn(store, store.conversations.begin(), "anew", "A")  # and what takes long later is not ended
        assert store.database.read(endless.replace("FROM n)", "+ 1 FROM n LIMIT 200000)"))[0][0] == 200_000


def test_two_programs_that_find_the_damage_move_one_file(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    path.write_bytes(b"no database")
    connect = module._connect

    def meanwhile(place: Path) -> sqlite3.Connection:
        """Another program moves the file between our finding it damaged and our moving it."""
        module._connect = connect
        try:
            return connect(place)
        except module._DamagedError:
            with opened(tmp_path) as other:
                turn(other, other.conversations.begin(), "Q", "A")
            raise

    module._connect = meanwhile
    try:
        with opened(tmp_path) as store:
            assert store.notices == []
            assert len(store.conversations.listed()) == 1
    finally:
        module._connect = connect
    assert len(list(tmp_path.glob("*.damaged*"))) == 1


def test_a_reader_does_not_wait_for_a_writer_and_a_second_writer_gives_up_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    with opened(tmp_path) as one, opened(tmp_path) as two:
        conversation = one.conversations.begin()
        turn(one, conversation, "Q", "A")
        with one.database.write() as connection:
            connection.execute("DELETE FROM messages")
            assert shown(two, conversation) == ["Q", "A"]
            with pytest.raises(StoreError, match=r"another program has kept .* busy for 0.05 s"):
                two.conversations.begin()
        assert shown(two, conversation) == []
        assert two.conversations.begin() > conversation


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(ZeroDivisionError), store.database.write() as connection:
            connection.execute("INSERT INTO inputs (text, created_at) VALUES ('x', 0)")
            raise ZeroDivisionError
        assert store.writing.recent() == []
        store.writing.remember("y")
        assert store.writing.recent() == ["y"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(QwenError, match="cannot be"), opened(tmp_path):
        pass


def test_what_is_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "conversations.db").mkdir()
    with pytest.raises(StoreError, match="not a regular file"), opened(tmp_path):
        pass
    with pytest.raises(StoreError, match="cannot be opened: No such file"), opened(tmp_path / "nowhere"):
        pass
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "writers").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), opened(tmp_path / "full"):
        pass


def test_a_full_disk_is_one_line_and_what_was_there_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        turn(store, conversation, "Q", "A")
        pages = store.database.read("PRAGMA page_count")[0][0]
        store.database.read(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="no space is left"):
            turn(store, conversation, "Q " + "text" * 20_000, "A")
        assert shown(store, conversation) == ["Q", "A"]
