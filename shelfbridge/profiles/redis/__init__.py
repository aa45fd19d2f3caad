"""Profiles in Redis: events wait in its streams until a consumer (`python -m deploy.consumer`) has counted them.

What a crash may cost is Redis's own setting: with `appendonly yes` and `appendfsync always` nothing that `put` has
taken, with `appendfsync everysec` the last second. What is forgotten stays in an append-only file until Redis writes
that anew.
"""

from shelfbridge.profiles.redis.sink import RedisSink
from shelfbridge.profiles.redis.store import RedisStore
from shelfbridge.profiles.redis.stream import RedisSource

__all__ = ["RedisSink", "RedisSource", "RedisStore"]
