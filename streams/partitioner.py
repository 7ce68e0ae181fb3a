"""Which partition a key belongs to: murmur2, as Kafka's Java clients and librdkafka's ``murmur2_random`` place it.

Source: Apache Kafka ``org.apache.kafka.common.utils.Utils.murmur2``; MurmurHash2 is in the public domain.
"""

from functools import lru_cache

# What the Kafka producer is told, so that every producer of twinloop and every Java client place a key alike.
KAFKA_PARTITIONER = "murmur2_random"

_SEED = 0x9747B28C
_M = 0x5BD1E995
_WORD = 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed, as an unsigned 32-bit number.

    >>> murmur2(b"21") - 2**32
    -973932308
    """
    h = (_SEED ^ len(data)) & _WORD
    tail = len(data) & ~3
    for i in range(0, tail, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * _M) & _WORD
        k ^= k >> 24
        h = ((h * _M) & _WORD) ^ ((k * _M) & _WORD)
    if tail < len(data):
        h = ((h ^ int.from_bytes(data[tail:], "little")) * _M) & _WORD
    h ^= h >> 13
    h = (h * _M) & _WORD
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition, out of ``partitions``, that holds all messages of a key.

    >>> partition_of(b"demo|ManagedElement=gnb7", 3)
    2
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
