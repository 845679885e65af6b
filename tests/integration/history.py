# SPDX-License-Identifier: MIT
"""Whether what clients were told of one token can be true. Its changes must have happened in some order, each between its
request and its answer. A change that was not answered may have happened at any time, or not at all, until a later one on
the same machine happens. A read saw the token as it was at some moment before its answer, but never as it was before a
change that had been acknowledged on the same machine when it was asked, nor by longer than `window`, nor past its expiry.

The check is exact: it walks through the moments of requests and answers with all states that are possible then."""
from dataclasses import dataclass, field

NONE = 0  # the version of a token that is not there
EXPIRY_SLACK = 0.01  # seconds that two readings of the wall clock may differ
FOREVER = float("inf")


@dataclass
class Version:
    """What was stored once, by its number."""
    user: str
    expires: float = FOREVER


@dataclass(eq=False)
class Op:
    """`kind` is store, delete, delete-user, delete-all, read. `call` and `ret` are monotonic times. A change is `certain`
    when it was answered with OK or NO. `found` of a delete: whether there was something, None: nobody said."""
    kind: str
    key: object  # None: all of them
    machine: object  # whose promises hold for it; None: somebody who writes to Redis directly
    call: float
    ret: float = FOREVER
    certain: bool = True
    version: int = NONE  # stored, or read; of a read None: not that exactly, but what `sees` says
    user: str = ""
    found: object = None
    sees: object = None  # a read's: (user, there): a token of this user (None: any) was there or not
    cached: bool = True  # a read that may be answered from memory
    after: list = field(default_factory=list)  # changes before it on its connection
    who: str = ""
    said: str = ""

    @property
    def is_read(self):
        return self.kind == "read"

    @property
    def repeats(self):
        """Requests over many tokens may meet one more than once."""
        return self.kind in ("delete-user", "delete-all")


class Frontier:
    """States, but for those that are poorer than another: what can follow from them can follow from that one too. It has more
    reads that have seen what they say, or more uncertain changes that may still happen."""

    def __init__(self):
        self._kinds = {}

    def add(self, state, todo):
        version, done, seen = state
        spent = frozenset(change for change in done if not change.certain)
        rest = self._kinds.setdefault((version, done - spent), [])
        if any(not seen & ~other_seen and other_spent <= spent for other_spent, other_seen in rest):
            return
        rest[:] = [other for other in rest if other[1] & ~seen or not spent <= other[0]] + [(spent, seen)]
        todo.append(state)

    def states(self):
        return {(version, certain | spent, seen) for (version, certain), rest in self._kinds.items() for spent, seen in rest}


class Walk:
    """One walk through the history of a key."""

    def __init__(self, ops, versions, window, begins=(NONE,)):
        self.versions = versions
        self.open_changes, self.closed = [], set()
        # Reads are bits: those that wait for their answer, those that must not be answered before a change, and those that
        # may be answered as they were while a version is there.
        self.bits = {read: 1 << number for number, read in enumerate(op for op in ops if op.is_read)}
        self.open_reads = 0
        self.accept = {version: 0 for version in (*begins, NONE, *(op.version for op in ops if op.kind == "store"))}
        self.needs = {}
        changes = {op for op in ops if not op.is_read}
        for op in ops:
            needs = [change for change in op.after if change.certain and change in changes]
            if op.is_read and op.cached:
                needs += [change for change in changes if change.certain and change.machine == op.machine is not None
                          and change.ret < op.call and change.ret > op.call - window]
            self.needs[op] = needs
        self.needed_by = {}
        for read in self.bits:
            for change in self.needs[read]:
                self.needed_by[change] = self.needed_by.get(change, 0) | self.bits[read]
        self.not_asked = set(self.needed_by)
        self.too_early = self.reads_behind(self.not_asked)
        # A state: the version that is there, changes among the open ones that have happened or never will, and reads among
        # the open ones that have seen what they say.
        self.states = {(version, frozenset(), 0) for version in begins}

    def sees(self, read, version):
        """Whether the read may be answered so while this is there."""
        if version != NONE and self.versions[version].expires + EXPIRY_SLACK <= read.call:
            return False  # looked at against the clock at each answer; that it is gone is a state of its own
        if read.sees is None:
            return read.version == version
        user, there = read.sees
        return there == (version != NONE and user in (None, self.versions[version].user))

    def ready(self, op, done):
        return all(need in self.closed or need in done for need in self.needs[op])

    def reads_behind(self, changes):
        reads = 0
        for change in changes:
            reads |= self.needed_by.get(change, 0)
        return reads

    def satisfied(self, version, done, seen):
        able = self.accept[version] & self.open_reads & ~self.too_early
        if able & ~seen:
            able &= ~self.reads_behind(change for change in self.open_changes if change not in done)
        return seen | able

    def outcome(self, change, version, now):
        """The version after the change, or None when it cannot happen now and be answered as it was."""
        if change.kind == "store":
            return NONE if self.versions[change.version].expires <= now - EXPIRY_SLACK else change.version
        if change.kind == "delete-user":
            return NONE if version != NONE and self.versions[version].user == change.user else version
        if change.found is not None and change.found != (version != NONE):
            return None
        return NONE

    def follow(self, now):
        """Adds all that can happen at this moment."""
        frontier, todo = Frontier(), []
        for version, done, seen in self.states:
            frontier.add((version, done, self.satisfied(version, done, seen)), todo)
        while todo:
            version, done, seen = todo.pop()
            if version != NONE and self.versions[version].expires - EXPIRY_SLACK <= now:
                frontier.add((NONE, done, self.satisfied(NONE, done, seen)), todo)
            for change in self.open_changes:
                if (change in done and not (change.repeats and change.certain)) or not self.ready(change, done):
                    continue
                after = self.outcome(change, version, now)
                if after is None:
                    continue
                also = done | self.ended_by(change)
                if change.certain or not change.repeats:
                    also |= {change}
                frontier.add((after, also, self.satisfied(after, also, seen)), todo)
        self.states = frontier.states()

    def ended_by(self, change):
        """Nothing that was left uncertain before this was asked for can happen any more."""
        return {other for other in self.open_changes if not other.certain and other.machine == change.machine is not None
                and other.ret < change.call}

    # What happens in the order of time

    def asked(self, op, now):
        if op.is_read:
            self.open_reads |= self.bits[op]
            for version in self.accept:
                if self.sees(op, version):
                    self.accept[version] |= self.bits[op]
        else:
            self.open_changes.append(op)
            self.not_asked.discard(op)
            self.too_early = self.reads_behind(self.not_asked)
        self.follow(now)

    def answered(self, op, now):
        if op.is_read:
            bit = self.bits[op]
            self.open_reads &= ~bit
            self.states = {(version, done, seen & ~bit) for version, done, seen in self.states if seen & bit}
            return
        self.states = {state for state in self.states if op in state[1]}
        self.closed.add(op)
        self.ended(op, now)

    def ended(self, op, _now):
        """An uncertain change that will not happen any more."""
        if op in self.open_changes:
            self.open_changes.remove(op)
        self.states = {(version, done - {op}, seen) for version, done, seen in self.states}

    def may_expire(self, _op, now):
        self.follow(now)

    def expired(self, op, now):
        self.states = {(NONE if version == op.version else version, done, seen) for version, done, seen in self.states}
        self.follow(now)


def ends_of(ops):
    """When each uncertain change had ended for sure: a later one of its machine, of whatever key, was acknowledged."""
    certain = sorted((op for op in ops if op.certain and not op.is_read and op.machine is not None), key=lambda op: op.call)
    ends, earliest, i = {}, {}, len(certain)
    for op in sorted((op for op in ops if not op.certain and op.machine is not None), key=lambda op: -op.ret):
        while i > 0 and certain[i - 1].call > op.ret:
            i -= 1
            machine = certain[i].machine
            earliest[machine] = min(earliest.get(machine, FOREVER), certain[i].ret)
        ends[op] = earliest.get(op.machine, FOREVER)
    return ends


def events_of(ops, versions, window, ends):
    events = []
    for op in ops:
        events.append((op.call - window if op.is_read and op.cached else op.call, 0, "asked", op))
        if op.certain:
            events.append((op.ret, 3, "answered", op))
        elif ends.get(op, FOREVER) != FOREVER:
            events.append((ends[op], 4, "ended", op))
        if op.kind == "store" and versions[op.version].expires != FOREVER:
            events.append((versions[op.version].expires - EXPIRY_SLACK, 1, "may_expire", op))
            events.append((versions[op.version].expires + EXPIRY_SLACK, 2, "expired", op))
    return sorted(events, key=lambda event: event[:2])


def impossible(ops, versions, window, ends, begins=(NONE,)):
    """The operation whose answer cannot be true, or None."""
    walk = Walk(ops, versions, window, begins)
    for now, _, what, op in events_of(ops, versions, window, ends):
        getattr(walk, what)(op, now)
        if not walk.states:
            return op
    return None


def shortest(ops, versions, window, ends, culprit):
    """Fewer operations that cannot all be true either. Reads may be left out; changes from the beginning, if then the token
    may have been anything at first."""
    def still(fewer, begins):
        return impossible(fewer, versions, window, ends, begins) is not None

    ops = [op for op in sorted(ops, key=lambda op: op.call) if op.call <= culprit.ret]
    begins = (NONE,)
    anything = (NONE, *sorted({op.version for op in ops if op.kind == "store"}))
    for at in range(len(ops) - 1, 0, -1):
        # What was not answered well before the cut may still happen behind it, or be seen there.
        cut = ops[at].call - window
        fewer = [op for op in ops[:at] if not op.is_read and (not op.certain or op.ret >= cut)] + ops[at:]
        if still(fewer, anything):
            ops, begins = fewer, anything
            break
    for read in [op for op in ops if op.is_read]:
        fewer = [op for op in ops if op is not read]
        if still(fewer, begins):
            ops = fewer
    return ops


def describe(ops, began=0.0):
    """One line an operation, in the order of the requests."""
    return "\n".join(f"  {op.call - began:9.4f} to {op.ret - began:9.4f}  {op.who:24} {op.said}"
                     for op in sorted(ops, key=lambda op: op.call))


def check(ops, keys, versions, window, began=0.0):
    """Raises AssertionError when the operations on any of the keys, answered as they say, are impossible. Those without a key
    are on all."""
    ends = ends_of(ops)
    for key in keys:
        own = [op for op in ops if op.key in (None, key)]
        culprit = impossible(own, versions, window, ends)
        if culprit is not None:
            fewer = shortest(own, versions, window, ends, culprit)
            raise AssertionError(f"what was said of the token {key} cannot be true:\n{describe(fewer, began)}\n"
                                 f"since then, at {culprit.ret - began:.4f}: {culprit.who} {culprit.said}")
