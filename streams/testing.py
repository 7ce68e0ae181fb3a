"""For tests of whatever reads a topic: inputs in which crashes, pauses and the end are values; and waiting.

>>> consumer = ScriptedConsumer([Message("t", 0, 0, None, b"a", 0), Pause(), Crash()])
>>> consumer.assign({("t", 0): 0})
>>> len(consumer.poll(10, 0)), len(consumer.poll(10, 0))
(1, 0)
>>> consumer.poll(10, 0)
Traceback (most recent call last):
...
streams.exceptions.SimulatedCrash: the script says: crash before the next message
Remedy: start again from the last snapshot
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from streams.clock import SettableClock
from streams.exceptions import ConsumerMisuse, SimulatedCrash
from streams.frontier import Frontier, TopicPartition, advance, has_seen
from streams.transport import Message, RebalanceListener

__all__ = ["Crash", "EndOfInput", "Pause", "ScriptedConsumer", "SettableClock", "wait_until"]


@dataclass(frozen=True)
class Crash:
    """``poll`` raises SimulatedCrash here, once: the next poll goes on, as a restarted process would."""


@dataclass(frozen=True)
class Pause:
    """``poll`` returns nothing here, as it does when a topic is quiet."""


@dataclass(frozen=True)
class EndOfInput:
    """``at_end`` becomes true here, and stays so until the next message."""


Step = Message | Crash | Pause | EndOfInput


class ScriptedConsumer:
    """A consumer whose input is a list. Several may read one after the other, to play a process that starts again.

    Parameters
    ----------
    script
        Messages in the order in which they arrive, with what happens between them. A batch never reaches over such
        an event, so the script also says how polls are cut.
    """

    def __init__(self, script: Iterable[Step]) -> None:
        self._script = list(script)
        self._at = 0
        self._start: Frontier = {}
        self._position: Frontier = {}
        self._committed: Frontier = {}
        self._at_end = False
        self.closed = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener | None = None) -> None:
        partitions = frozenset((m.topic, m.partition) for m in self._script if isinstance(m, Message))
        self.assign(dict.fromkeys((tp for tp in partitions if tp[0] in topics), 0) | self._committed)

    def assign(self, frontier: Mapping[TopicPartition, int]) -> None:
        self._start = {}
        self._position = {}
        self.seek(frontier)

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        batch: list[Message] = []
        while self._at < len(self._script) and len(batch) < max_messages:
            step = self._script[self._at]
            if not isinstance(step, Message):
                if batch:
                    break
                self._at += 1
                if isinstance(step, Crash):
                    raise SimulatedCrash(
                        "the script says: crash before the next message", "start again from the last snapshot"
                    )
                self._at_end |= isinstance(step, EndOfInput)
                break
            self._at += 1
            if (step.topic, step.partition) in self._start and not has_seen(self._start, step):
                batch.append(step)
        if batch:
            self._at_end = False
        self._position = advance(self._position, batch)
        self._at_end |= self._at == len(self._script)
        return batch

    def seek(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Go back to the beginning of the script and skip what lies below the frontier; past crashes do not recur."""
        self._script = [s for i, s in enumerate(self._script) if i >= self._at or not isinstance(s, Crash)]
        self._at = 0
        self._start = {**self._start, **frontier}
        self._position.update(frontier)
        self._at_end = False

    def position(self) -> Frontier:
        return dict(self._position)

    def at_end(self) -> bool:
        return self._at_end

    def commit(self, frontier: Mapping[TopicPartition, int]) -> None:
        if self.closed:
            raise ConsumerMisuse("the scripted consumer is closed", "make a new one")
        self._committed.update(frontier)

    def committed(self, partitions: Iterable[TopicPartition]) -> Frontier:
        return {tp: self._committed[tp] for tp in partitions if tp in self._committed}

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], bool], deadline_s: float, what: str, every_s: float = 0.01) -> None:
    """Wait for a condition, by looking; raises AssertionError that names ``what`` when the deadline passes."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= end:
            raise AssertionError(f"after {deadline_s:g} s still not: {what}")
        pause.wait(every_s)
