"""Hostile requests by the grammar of true ones: each level, from a tensor's value to the frames, is bent by itself."""

import random
from collections.abc import Callable, Collection, Iterator

from loadtests.fuzz.attack import Attack
from loadtests.fuzz.calls import deadline, metadata, method, path, role, several, step, token
from loadtests.fuzz.connections import compressed, frames, headers, plain, prefix, unended
from loadtests.fuzz.messages import bits, cut, noise, size, wire
from loadtests.fuzz.tensors import contents, datatype, doubled, length, missing, shape, value

Make = Callable[[random.Random], Attack]
ANYWHERE: dict[Make, float] = {
    value: 22,
    shape: 7,
    datatype: 6,
    missing: 4,
    doubled: 6,
    length: 7,
    contents: 6,
    bits: 12,
    cut: 8,
    wire: 8,
    noise: 4,
    size: 0.5,
    several: 2,
    method: 3,
    path: 2,
    step: 2,
    metadata: 4,
    deadline: 3,
    prefix: 4,
    compressed: 3,
    headers: 3,
    unended: 1,
    frames: 3,
    plain: 1,
}
"""How often each comes; of tokens only the gateway knows."""
GATEWAY = {**ANYWHERE, token: 5.0, role: 3.0}
GIVEN_UP: tuple[Make, ...] = (deadline, unended)
"""Calls that their callers give up."""


def attacks(count: int, seed: int, without: Collection[Make] = ()) -> Iterator[Attack]:
    """So many, by turns through the gateway and past it; the same for the same seed."""
    chance = random.Random(seed)
    for number in range(count):
        choice = {make: often for make, often in (ANYWHERE if number % 2 else GATEWAY).items() if make not in without}
        make = chance.choices(list(choice), list(choice.values()))[0]
        yield make(chance).by("direct" if number % 2 else "gateway")
