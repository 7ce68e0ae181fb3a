"""Messages of several partitions in the order of their timestamps, as far as what lies on the topics allows.

A consumer that catches up gets long runs of one partition, then of the next: to an operator that looks at how far each
partition has come, half the network would seem asleep. Here a message waits until no partition can still bring an older
one: until each has been read further, or to its end.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from streams.frontier import Frontier, TopicPartition
from streams.transport import Consumer, Message, Transport


class TimeOrdered:
    """Polls a consumer and gives its messages merged by timestamp.

    Parameters
    ----------
    consumer
        Assigned to partitions of ``topics``; nobody else polls it.
    transport
        Says where the partitions end.
    topics
        What the consumer reads.
    """

    def __init__(self, consumer: Consumer, transport: Transport, topics: Sequence[str]) -> None:
        self._consumer, self._transport, self._topics = consumer, transport, tuple(topics)
        self._waiting: dict[TopicPartition, deque[Message]] = {}

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Messages that nothing older can precede any more, oldest first. Asks for the ends of all partitions."""
        for message in self._consumer.poll(max_messages, timeout_s):
            self._waiting.setdefault((message.topic, message.partition), deque()).append(message)
        if not any(self._waiting.values()):
            return []
        behind = self._behind(self._transport.end_offsets(self._topics))
        heap = [(queue[0].timestamp_ms, at) for at, queue in self._waiting.items() if queue]
        heapify(heap)
        out: list[Message] = []
        while heap and not any(not self._waiting.get(at) for at in behind):
            _, at = heappop(heap)
            queue = self._waiting[at]
            out.append(queue.popleft())
            if queue:
                heappush(heap, (queue[0].timestamp_ms, at))
        return out

    def at_end(self) -> bool:
        """Whether everything was given out."""
        return self._consumer.at_end() and not any(self._waiting.values())

    def _behind(self, ends: Mapping[TopicPartition, int]) -> Frontier:
        """Partitions from which the consumer has more to bring."""
        return {at: offset for at, offset in self._consumer.position().items() if offset < ends.get(at, 0)}
