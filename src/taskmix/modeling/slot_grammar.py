"""The grammar of slot answers, token by token: which tokens may come next, and what has been said so far.

The answers are those of `answer_format`: lines that open with a slot of the task and copy words of the text. A grammar
moves by whole pieces (an opening, a word, an end), each of which is some tokens; where one piece's tokens begin
another's (`five`, `fiver`), both stay open until a token decides. So what it lets through is always an answer, and a
copied word is always a whole word.

    grammar = SlotGrammar(...)             # a task's, or those of several tasks answered at once
    place = grammar.begin(keys)            # keys: what tells the words of a text apart
    place.allowed()                        # tokens that may come next; empty when the answer is over
    place = place.after(token)
    place.spans                            # task to the spans that the answer, when over, says

Openings and ends are tries that all texts share; the words that may be copied next are a small trie of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from taskmix.data.schema import Span
from taskmix.modeling.answer_format import no_spans_piece, opening_piece
from taskmix.modeling.slot_pieces import Copy, Copying, End, Move, Nothing, Open, PieceTrie, Tokens, Words, next_words

PieceIds = Callable[[str], Tokens]


@dataclass(frozen=True)
class Said:
    """A span of the answer.

    Attributes:
        task: that it answers.
        span: of the text.
        tokens: places in the answer, (first token of the opening, first token after its words).
    """

    task: str
    span: Span
    tokens: tuple[int, int]


@dataclass(frozen=True)
class _State:
    """What has been said, between two pieces."""

    task: int = 0
    untold: bool = True
    """Nothing is said of `task` yet, so the answer cannot go on to the next."""
    after: int = 0
    """Words before this one are used up."""
    said: tuple[Said, ...] = ()
    copying: Copying | None = None
    over: bool = False


@dataclass
class SlotGrammar:
    """What may be answered to some slot tasks, one after another.

    Attributes:
        slots: task to its slots, in the order of the answer.
        lead: what the answer begins with.
        named: whether each line begins with its task, as in an answer to several tasks.
        end_ids: the answer's end.
        piece_ids: the tokens of a piece.
    """

    slots: Mapping[str, Sequence[str]]
    lead: str
    named: bool
    end_ids: Tokens
    piece_ids: PieceIds
    _tries: dict[Hashable, PieceTrie] = field(default_factory=dict, repr=False)

    def begin(self, keys: Sequence[Hashable]) -> Place:
        """The place before the answer's first token, for a text of these words.

        Args:
            keys: one a word: its tokens, with a blank before it, where it may be copied; where it may not, anything
                else that no other word has.
        """
        text, state = Words(tuple(keys)), _State()
        return Place(self, text, tuple(_Thread(state, root, 0) for root in self.next_pieces(state, text)), 0)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the answer."""
        return tuple(self.slots)

    def next_pieces(self, state: _State, text: Words) -> Iterator[PieceTrie]:
        """The tries of the pieces that may follow."""
        copying, after = state.copying, state.after
        if copying is not None:
            yield next_words(copying, text)
            if not copying.length:
                return
            after = copying.span.end
        lead = self.lead if state == _State() else "\n"
        yield self._openings(state.task, lead=lead, most=text.most_repeated[after])
        if state.untold and copying is None:
            yield self._nothing(state.task, lead=lead)
        elif state.task + 1 < len(self.tasks):
            yield self._openings(state.task + 1, lead="\n", most=text.most_repeated[0])
            yield self._nothing(state.task + 1, lead="\n")
        else:
            yield self._trie("end", [(self.end_ids, End())])

    def _openings(self, task: int, *, lead: str, most: int) -> PieceTrie:
        """Every opening of a task's lines, for words of which the most frequent is left `most` times."""
        name = self.tasks[task]
        shown = name if self.named else ""
        moves = [Open(task, slot, rank) for rank in range(1, most + 1) for slot in self.slots[name]]
        pieces = (
            (self.piece_ids(opening_piece(move.slot, rank=move.rank, lead=lead, task=shown)), move) for move in moves
        )
        return self._trie((task, lead, most), pieces)

    def _nothing(self, task: int, *, lead: str) -> PieceTrie:
        piece = no_spans_piece(lead=lead, task=self.tasks[task] if self.named else "")
        return self._trie((task, lead), [(self.piece_ids(piece), Nothing(task))])

    def _trie(self, name: Hashable, pieces: Iterable[tuple[Tokens, Move]]) -> PieceTrie:
        """The trie of `pieces`, made once a name."""
        if name not in self._tries:
            self._tries[name] = root = PieceTrie()
            for ids, move in pieces:
                root.add(ids, move)
        return self._tries[name]


@dataclass(frozen=True)
class _Thread:
    """A state, and how far its next piece has come."""

    state: _State
    node: PieceTrie
    began: int
    """Place in the answer of the piece's first token."""


@dataclass(frozen=True)
class Place:
    """How far an answer has come."""

    grammar: SlotGrammar
    text: Words
    threads: tuple[_Thread, ...]
    position: int
    ended: _State | None = None

    @property
    def over(self) -> bool:
        """Whether the answer is complete; nothing may follow."""
        return self.ended is not None

    @property
    def said(self) -> tuple[Said, ...]:
        """The spans of an answer that is over, in its order."""
        assert self.ended is not None, "the answer is not over"
        return self.ended.said

    @property
    def spans(self) -> dict[str, tuple[Span, ...]]:
        """Task to its spans, of an answer that is over."""
        return {task: tuple(each.span for each in self.said if each.task == task) for task in self.grammar.tasks}

    def allowed(self) -> list[int]:
        """The tokens that may come next, sorted; none once the answer is over."""
        return sorted({token for thread in self.threads for token in thread.node.following})

    def after(self, token: int) -> Place:
        """The place one token on; `token` is one of `allowed`."""
        threads: list[_Thread] = []
        for thread in self.threads:
            node = thread.node.following.get(token)
            if node is None:
                continue
            if node.following:
                threads.append(replace(thread, node=node))
            for move in node.moves:
                state = self._moved(thread.state, move, began=thread.began)
                if state.over:
                    return Place(self.grammar, self.text, (), self.position + 1, state)
                roots = self.grammar.next_pieces(state, self.text)
                threads += [_Thread(state, root, self.position + 1) for root in roots if root.following]
        assert threads, f"token {token} is not allowed here"
        return Place(self.grammar, self.text, tuple(threads), self.position + 1)

    def _moved(self, state: _State, move: Move, *, began: int) -> _State:
        """The state after a piece, whose first token stands at `began`."""
        if isinstance(move, Copy):
            assert state.copying is not None
            copying = replace(state.copying, starts=move.starts, length=state.copying.length + 1)
            return replace(state, copying=copying)
        if state.copying is not None:
            span, opened = state.copying.span, state.copying.opened
            said = (*state.said, Said(self.grammar.tasks[state.task], span, (opened, began)))
            state = replace(state, said=said, after=span.end, copying=None)
        match move:
            case Open(task, slot, rank):
                after = state.after if task == state.task else 0
                starts = tuple(place for place in self.text.copyable if place >= after)
                return replace(
                    state, task=task, untold=False, after=after, copying=Copying(slot, rank, starts, 0, began)
                )
            case Nothing(task):
                return replace(state, task=task, untold=False, after=len(self.text.keys))
            case End():
                return replace(state, over=True)
