"""Held SYNs against a slow and obvious model, through any history."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.daemon.packets import Segment, held
from wangell_daemon.held import GIVE_UP_AFTER_NS, HeldSyns, Tally

MS = 1_000_000
REPEAT_AFTER_NS = (5 * MS, 20 * MS, 80 * MS)

clients = st.integers(1, 6)


@dataclass
class Attempt:
    """One client's attempt to connect: all that was ever done for it."""

    client: int
    sequence: int
    first_seen_ns: int
    seen_ns: int
    let_in_at_ns: list[int] = field(default_factory=list)

    @property
    def is_out(self) -> bool:
        return bool(self.let_in_at_ns)

    @property
    def is_spent(self) -> bool:
        return len(self.let_in_at_ns) == 1 + len(REPEAT_AFTER_NS)

    @property
    def due_ns(self) -> int:
        pauses = (*REPEAT_AFTER_NS, GIVE_UP_AFTER_NS)
        return self.let_in_at_ns[-1] + pauses[len(self.let_in_at_ns) - 1]


class HeldMachine(RuleBasedStateMachine):
    """A listing of attempts, in the order in which they are to go in."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally(held=1000)  # other services of the node hold some, too
        self.held = HeldSyns(self.tally)
        self.attempts: list[Attempt] = []
        self.now_ns = 0

    def of(self, client: int) -> Attempt | None:
        return next((each for each in self.attempts if each.client == client), None)

    @rule(client=clients, sequence=st.sampled_from((100, 200)))
    def a_syn_is_held(self, client: int, sequence: int) -> None:
        older = self.of(client)
        attempt = Attempt(client, sequence, self.now_ns, self.now_ns)
        is_repeat = older is not None and older.sequence == sequence
        if is_repeat and older is not None:
            attempt.first_seen_ns = older.first_seen_ns
        if older is not None and is_repeat and not older.is_out:
            self.attempts[self.attempts.index(older)] = attempt
        else:
            self.attempts = [each for each in self.attempts if each is not older] + [attempt]
        segment = Segment(client=f"10.0.0.1:{client}", sequence=sequence)
        assert self.held.hold(held(segment, seen_ns=self.now_ns)) == (older is None)

    @rule(room=st.integers(-1, 7))
    def there_is_room(self, room: int) -> None:
        repeats = {
            each.client
            for each in self.attempts
            if each.is_out and not each.is_spent and each.due_ns <= self.now_ns
        }
        waiting = [each.client for each in self.attempts if not each.is_out]
        out = [each for each in self.attempts if each.is_out]
        unspent = [each for each in out if not each.is_spent]
        went_in = [self.client_of(each.syn.flow) for each in self.held.take_due(
            now_ns=self.now_ns, room=room
        )]  # fmt: skip
        assert len(set(went_in)) == len(went_in), "twice at once"
        assert {each for each in went_in if each not in waiting} == repeats
        fresh = [each for each in went_in if each in waiting]
        assert fresh == waiting[: len(fresh)], "not the oldest"
        # Whether those that only await their end take up room is the implementation's choice.
        most = min(len(waiting), max(0, room - len(unspent)))
        least = min(len(waiting), max(0, room - len(out)))
        assert least <= len(fresh) <= most
        for client in went_in:
            attempt = self.of(client)
            assert attempt is not None
            attempt.let_in_at_ns.append(self.now_ns)

    @rule()
    def the_unanswerable_are_given_up(self) -> None:
        over = {
            each.client for each in self.attempts if each.is_spent and each.due_ns <= self.now_ns
        }
        gone = self.held.take_unanswerable(now_ns=self.now_ns)
        assert {self.client_of(each.syn.flow) for each in gone} == over
        self.attempts = [each for each in self.attempts if each.client not in over]

    @rule(ago_ms=st.sampled_from((0, 5, 1000)))
    def who_has_waited_since_is_refused(self, ago_ms: int) -> None:
        before_ns = self.now_ns - ago_ms * MS
        over = {
            each.client
            for each in self.attempts
            if not each.is_out and each.first_seen_ns <= before_ns
        }
        gone = self.held.take_waiting_since(before_ns)
        assert {self.client_of(each.syn.flow) for each in gone} == over
        self.attempts = [each for each in self.attempts if each.client not in over]

    @rule()
    def all_are_taken_away(self) -> None:
        assert len(self.held.clear()) == len(self.attempts)
        self.attempts = []

    @rule(client=clients)
    def a_client_answers(self, client: int) -> None:
        attempt = self.of(client)
        answered = self.held.answered(held(Segment(client=f"10.0.0.1:{client}")).syn.flow)
        assert (answered is None) == (attempt is None)
        if attempt is not None and answered is not None:
            assert answered.first_seen_ns == attempt.first_seen_ns
            assert answered.injections == len(attempt.let_in_at_ns)
            self.attempts.remove(attempt)

    @rule()
    def the_listener_goes_away(self) -> None:
        self.held.recall()
        out = [each for each in self.attempts if each.is_out]
        waiting = [each for each in self.attempts if not each.is_out]
        out.sort(key=self.place_in_queue)
        for each in out:
            each.let_in_at_ns.clear()
        self.attempts = out + waiting

    @rule(pause_ms=st.sampled_from((1, 4, 5, 20, 80, 1000, 3000)))
    def time_passes(self, pause_ms: int) -> None:
        self.now_ns += pause_ms * MS

    @rule()
    def time_passes_to_the_next_deadline(self) -> None:
        due_ns = self.held.next_due_ns()
        if due_ns is not None:
            self.now_ns = max(self.now_ns, due_ns)

    @invariant()
    def the_same_are_held(self) -> None:
        kept = {self.client_of(each.syn.flow): each for each in self.held}
        assert len(kept) == len(self.held) == self.held.out + self.held.waiting
        assert kept.keys() == {each.client for each in self.attempts}
        for attempt in self.attempts:
            one = kept[attempt.client]
            assert one.syn.sequence == attempt.sequence
            assert one.first_seen_ns == attempt.first_seen_ns
            assert one.seen_ns == attempt.seen_ns
        assert self.held.out == sum(each.is_out for each in self.attempts)
        assert self.tally.held == 1000 + len(self.attempts)
        assert all(each.syn.flow in self.held for each in self.held)

    @invariant()
    def an_answer_is_hoped_for_while_one_is_out_that_will_be_repeated(self) -> None:
        hopeful = [each for each in self.attempts if each.is_out and not each.is_spent]
        assert self.held.has_hope == bool(hopeful)

    @invariant()
    def the_deadline_is_the_earliest(self) -> None:
        due = [each.due_ns for each in self.attempts if each.is_out]
        assert self.held.next_due_ns() == min(due, default=None)

    def place_in_queue(self, attempt: Attempt) -> int:
        """Those that were let in first are the first again."""
        return [self.client_of(each.syn.flow) for each in self.held].index(attempt.client)

    @staticmethod
    def client_of(flow: bytes) -> int:
        return int.from_bytes(flow[32:34], "big")


TestHeldMachine = HeldMachine.TestCase
TestHeldMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
