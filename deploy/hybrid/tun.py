"""A WAN for root: two TUN devices, one here and one in the public site's network namespace, and a process between them
that delays, queues and drops packets. What crosses it is real TCP.

`python -m deploy.hybrid.tun DEVICE NAMESPACE HERE THERE WAN_JSON`
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

from deploy.hybrid.line import LAID, Line
from deploy.hybrid.topology import Wan

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
MTU = 1500


def device(name: str) -> int:
    """A TUN device; it goes when the process ends."""
    number = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(number, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN_WITHOUT_HEADER))
    return number


def lay(name: str, namespace: str, here: str, there: str) -> tuple[int, int]:
    """Make the two ends, ours and the public site's, and give them their addresses."""
    near, far = f"{name}a", f"{name}b"
    ends = device(near), device(far)
    inside = ["netns", "exec", namespace, "ip"]
    for arguments in (
        ["addr", "add", here, "peer", there, "dev", near],
        ["link", "set", near, "up"],
        ["link", "set", far, "netns", namespace],
        [*inside, "addr", "add", there, "peer", here, "dev", far],
        [*inside, "link", "set", far, "up"],
        [*inside, "link", "set", "lo", "up"],
    ):
        subprocess.run(["ip", *arguments], check=True)
    return ends


def carry(ends: tuple[int, int], wan: Wan) -> None:
    """Carry packets until the process ends."""
    lines = {ends[0]: Line(wan), ends[1]: Line(wan)}
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        now = time.monotonic()
        wait = max(0.0, under_way[0][0] - now) if under_way else None
        for end in select.select(ends, [], [], wait)[0]:
            packet = os.read(end, MTU + 100)
            now = time.monotonic()
            if not lines[end].loses(now):
                count += 1
                heapq.heappush(under_way, (lines[end].arrival(now, len(packet)), count, other[end], packet))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, end, packet = heapq.heappop(under_way)
            os.write(end, packet)


def main(arguments: Sequence[str]) -> None:
    """The command line, for `Wan`'s own use."""
    name, namespace, here, there, wan = arguments
    ends = lay(name, namespace, here, there)
    # Asking across would not do: before this, whoever stands at the default route may answer
    print(LAID, flush=True)
    carry(ends, Wan.model_validate_json(wan))


if __name__ == "__main__":
    main(sys.argv[1:])
