"""The tree of messages against a plain model of one, and what is resumed from it."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qwen_core.protocol.events import Message
from qwen_tui.conversation.branch import read_branch
from qwen_tui.store import DeletedTurn, StoreError
from qwen_tui.store.export_json import export_json
from support.stores import TEXT, TOKENS, opened, shown, turn


class Node:
    """A message in the model: its text, alternatives below it, and which of them is shown."""

    def __init__(self, parent: "Node | None", id: int = 0, text: str = "") -> None:
        self.parent, self.id, self.text = parent, id, text
        self.children: list[Node] = []
        self.chosen: Node | None = None

    def add(self, id: int, text: str) -> "Node":
        child = Node(self, id, text)
        self.children.append(child)
        child.choose()
        return child

    def choose(self) -> None:
        if self.parent is not None:
            self.parent.chosen = self
            self.parent.choose()

    def line(self) -> "list[Node]":
        """It and everything above."""
        return [self] if self.parent is None else [self, *self.parent.line()]

    def adopt(self, children: "list[Node]") -> None:
        for child in children:
            child.parent = self
        self.children = sorted([*self.children, *children], key=lambda node: node.id)

    def release(self, child: "Node") -> None:
        self.children = [other for other in self.children if other is not child]

    def path(self) -> "list[Node]":
        return [] if self.chosen is None else [self.chosen, *self.chosen.path()]

    def all(self) -> "list[Node]":
        return [node for child in self.children for node in (child, *child.all())]


class TreeMachine(RuleBasedStateMachine):
    """Ask, answer, edit, walk, delete and undo in any order: the shown branch is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.exits = ExitStack()
        folder = Path(self.exits.enter_context(tempfile.TemporaryDirectory()))
        self.store = self.exits.enter_context(opened(folder))
        self.conversation = 0
        self.root = Node(None)
        self.made: list[Node] = []
        self.deleted: list[tuple[DeletedTurn, Node, Node | None, list[Node]]] = []

    @initialize()
    def begin(self) -> None:
        self.conversation = self.store.conversations.begin()

    def teardown(self) -> None:
        self.exits.close()

    @rule(text=TEXT)
    def ask(self, text: str) -> None:
        path = self.root.path()
        if len(path) % 2:  # the last question has no answer: this one is an alternative to it
            above = path[-1].parent
        else:
            above = path[-1] if path else self.root
        assert above is not None
        self.made.append(above.add(self.store.answers.ask(self.conversation, text), text))

    @precondition(lambda self: self.root.path())
    @rule(text=TEXT, data=st.data())
    def answer(self, text: str, data: st.DataObject) -> None:
        question = data.draw(st.sampled_from(self.root.path()[::2]))
        answer_id = self.store.answers.begin(question.id)
        self.store.answers.finish(answer_id, Message("assistant", text), "stop")
        self.made.append(question.add(answer_id, text))

    @precondition(lambda self: self.root.path())
    @rule(text=TEXT, data=st.data())
    def edit(self, text: str, data: st.DataObject) -> None:
        question = data.draw(st.sampled_from(self.root.path()[::2]))
        assert question.parent is not None
        self.made.append(question.parent.add(self.store.answers.edit(question.id, text), text))

    @precondition(lambda self: self.root.all())
    @rule(data=st.data())
    def show(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.root.all()))
        self.store.tree.show(node.id)
        node.choose()

    @precondition(lambda self: self.root.path())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = self.root.path()
        question = data.draw(st.sampled_from(path[::2]))
        above, answer = question.parent, question.chosen
        assert above is not None
        undo = self.store.tree.delete_turn(question.id)
        neighbours = [child for child in above.children if child is not question]
        place = above.children.index(question)
        moved = list(answer.children) if answer is not None else []
        above.children.remove(question)
        above.chosen = None
        if answer is not None and answer.chosen is not None:
            following, answer.children = answer.chosen, []
            above.adopt(moved)
            following.choose()
        elif neighbours:
            neighbours[max(0, place - 1)].choose()
        self.deleted.append((undo, question, answer, moved))

    @precondition(lambda self: self.deleted)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """Of any deletion, whatever was asked or deleted since."""
        deletion = data.draw(st.sampled_from(self.deleted))
        undo, question, answer, moved = deletion
        above = question.parent
        assert above is not None
        if above is not self.root and above not in self.root.all():
            with pytest.raises(StoreError, match="bring that back first"):
                self.store.tree.undo_delete(undo)
            return
        self.deleted.remove(deletion)
        shown_before = self.root.path()
        self.store.tree.undo_delete(undo)
        above.adopt([question])
        question.choose()
        if answer is not None:
            answer.choose()
            for child in moved:
                assert child.parent is not None
                child.parent.release(child)
                child.parent = answer
            gone = [deleted for _, deleted, _, _ in self.deleted]
            answer.adopt([child for child in moved if child not in gone])
            if answer.chosen not in answer.children:
                answer.chosen = None  # it was deleted meanwhile
            stood = [child for child in answer.children if child in shown_before]
            if stood or (answer.children and answer.chosen is None):
                (stood or answer.children)[-1].choose()

    @invariant()
    def only_deleted_turns_are_out_of_reach(self) -> None:
        """All else is found and exported, and leads somewhere from wherever the shown branch turns off."""
        hidden = [question for _, question, _, _ in self.deleted]
        live = {node.id for node in self.made if not any(above in hidden for above in node.line())}
        rows = self.store.database.read("SELECT id FROM messages WHERE deleted_at IS NULL")
        assert {row["id"] for row in rows} == live == {node.id for node in self.root.all()}
        for node in (self.root, *self.root.all()):
            assert not node.children or node.chosen in node.children

    @invariant()
    def the_shown_branch_is_the_models(self) -> None:
        if not self.conversation:
            return
        messages = self.store.tree.path(self.conversation)
        assert [(m.id, m.content) for m in messages] == [(node.id, node.text) for node in self.root.path()]
        for message, node in zip(messages, self.root.path(), strict=True):
            assert node.parent is not None
            assert message.siblings == tuple(child.id for child in node.parent.children)
            assert message.place == (message.siblings.index(message.id) + 1, len(message.siblings))


TestTree = TreeMachine.TestCase
TestTree.settings = limits(max_examples=25, stateful_step_count=20)


@limits(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 100), TOKENS), min_size=1, max_size=6))
def test_ids_of_every_answer_come_back_whatever_was_rendered_anew(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, list[int]]]
) -> None:
    """Each turn keeps some of the ids before it and has others after that, as when a template rewrites history."""
    with opened(tmp_path_factory.mktemp("store")) as store:
        conversation = store.conversations.begin()
        ids: tuple[int, ...] = ()
        expected = {}
        for kept, new in steps:
            ids = ids[: len(ids) * kept // 100] + tuple(new)
            _, answer = turn(store, conversation, "Q", "A", ids)
            expected[answer] = ids or None
        for answer, known in expected.items():
            assert store.tree.ids(answer) == known
        # Where those of the last answers are not known, a branch has those of the answers before.
        known = [place for place, given in enumerate(expected.values(), 1) if given]
        branch = read_branch(store, conversation, 1)
        assert branch.known == 2 * (known[-1] if known else 0)
        assert branch.ids == (list(expected.values())[known[-1] - 1] if known else ())


def test_what_was_deleted_before_stays_deleted_when_a_turn_above_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        first, _ = turn(store, conversation, "Q1", "A1")
        second, _ = turn(store, conversation, "Q2", "A2")
        store.tree.delete_turn(second)
        store.tree.undo_delete(store.tree.delete_turn(first))
        assert shown(store, conversation) == ["Q1", "A1"]
        with pytest.raises(StoreError, match="was deleted"):
            store.tree.show(second)
        undo = store.tree.delete_turn(first)
        with pytest.raises(StoreError, match="bring that back first"):
            store.tree.undo_delete(DeletedTurn(second))
        store.tree.undo_delete(undo)
        store.tree.undo_delete(DeletedTurn(second))
        assert shown(store, conversation) == ["Q1", "A1", "Q2", "A2"]


def test_a_turn_that_comes_back_alone_does_not_show_what_moved_on_without_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        first, _ = turn(store, conversation, "Q1", "A1")
        second, _ = turn(store, conversation, "Q2", "A2")
        third = store.answers.ask(conversation, "Q3")
        undo_first, undo_second = store.tree.delete_turn(first), store.tree.delete_turn(second)
        store.tree.undo_delete(undo_first)
        assert shown(store, conversation) == ["Q1", "A1"]
        assert [summary.turns for summary in store.conversations.listed()] == [1]
        assert store.tree.message(first).siblings == (first, third)
        store.tree.undo_delete(undo_second)
        assert shown(store, conversation) == ["Q1", "A1", "Q2", "A2", "Q3"]


def test_what_was_asked_after_a_delete_stays_when_it_is_undone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        alpha, _ = turn(store, conversation, "alpha", "A1", (1, 2))
        beta, _ = turn(store, conversation, "beta", "A2", (1, 2, 3, 4))
        again = store.answers.edit(beta, "other beta")
        store.tree.show(beta)
        undo = store.tree.delete_turn(alpha)
        assert shown(store, conversation) == ["beta", "A2"]
        assert store.tree.message(beta).siblings == (beta, again)
        _, last = turn(store, conversation, "gamma", "A3", (3, 4, 5))
        assert read_branch(store, conversation, 1).ids == (3, 4, 5)
        store.tree.undo_delete(undo)
        assert shown(store, conversation) == ["alpha", "A1", "beta", "A2", "gamma", "A3"]
        assert store.tree.message(beta).siblings == (beta, again)
        # What the engine had been fed for it is not what it follows now; the next answer builds on the first again.
        assert store.tree.ids(last) is None
        assert [hit.message_id for hit in store.search.find("gamma")] == [store.tree.message(last).parent_id]
        assert "gamma" in export_json(store, [conversation])
        turn(store, conversation, "delta", "A4", (1, 2, 7))
        assert read_branch(store, conversation, 1).ids == (1, 2, 7)


def test_ids_are_unknown_once_those_they_build_on_have_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        _, first = turn(store, conversation, "Q1", "A1", (1, 2, 3))
        _, second = turn(store, conversation, "Q2", "A2", (1, 2, 3, 4, 5))
        store.answers.reopen(first)
        store.answers.finish(first, Message("assistant", "A1 more"), "stop", (1, 2, 9, 9))
        assert store.tree.ids(first) == (1, 2, 9, 9)
        assert store.tree.ids(second) is None
        assert read_branch(store, conversation, 1).ids == ()


def test_resuming_leaves_an_unanswered_question_out(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin("be brief")
        turn(store, conversation, "Q1", "A1", (1, 2))
        question = store.answers.ask(conversation, "Q2")
        answer = store.answers.begin(question)
        store.answers.fail(answer, "no memory")
        resume = read_branch(store, conversation, 1)
        assert resume.system == "be brief"
        assert resume.ids == (1, 2)


def test_a_conversation_whose_turns_are_all_deleted_is_read_as_an_empty_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin("be brief")
        question, _ = turn(store, conversation, "Q1", "A1", (1, 2))
        store.tree.delete_turn(question)
        branch = read_branch(store, conversation, 1)
        assert (branch.system, branch.turns, branch.ids) == ("be brief", [], ())


def test_what_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for action in (
            lambda: store.tree.message(7),
            lambda: store.tree.show(7),
            lambda: read_branch(store, 7, 1),
            lambda: store.answers.ask(7, "Q"),
            lambda: store.answers.begin(7),
            lambda: store.answers.append(7, [("answer", "A")]),
            lambda: store.answers.finish(7, Message("assistant", "A"), "stop"),
        ):
            with pytest.raises(StoreError, match=r"there is no|not there any more"):
                action()
        assert store.tree.path(7) == []
        conversation = store.conversations.begin()
        _, answer = turn(store, conversation, "Q", "A")
        for action in (
            lambda: store.answers.edit(answer, "other"),
            lambda: store.answers.begin(answer),
            lambda: store.tree.delete_turn(answer),
        ):
            with pytest.raises(StoreError, match="question"):
                action()
        assert shown(store, conversation) == ["Q", "A"]


def test_the_alternatives_of_a_turn_are_all_answers_to_all_wordings(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = store.answers.ask(store.conversations.begin(), "Q")
        answers = [store.answers.begin(first), store.answers.begin(first)]
        reworded = store.answers.edit(first, "Q, with files", shown="Q2")
        unanswered = store.answers.edit(first, "Q3")
        answers.append(store.answers.begin(reworded))
        for question in (first, reworded, unanswered):
            assert store.tree.alternatives(question) == [*answers, unanswered]
        for place, chosen in enumerate((*answers, unanswered), 1):
            store.tree.show(chosen)
            assert store.tree.places(store.tree.path(store.tree.message(first).conversation_id)) == [(place, 4)]
        assert store.tree.message(reworded).shown == "Q2"
        assert store.tree.message(first).shown == ""


@pytest.mark.parametrize("column", ["parent_id", "chosen_child"])
def test_a_circle_ends_where_it_would_close(tmp_path: Path, column: str) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        first, _ = turn(store, conversation, "Q1", "A1")
        _, last = turn(store, conversation, "Q2", "A2")
        with store.database.write() as connection:
            connection.execute(f"UPDATE messages SET {column} = ? WHERE id = ?", (last, first))
            connection.execute("UPDATE messages SET chosen_child = ? WHERE id = ?", (first, last))
        assert len(store.tree.path(conversation)) <= 4
        assert store.tree.ids(last) is None
        store.tree.show(last)
        assert store.conversations.get(conversation).turns <= 2
        turn(store, conversation, "Q3", "A3")
