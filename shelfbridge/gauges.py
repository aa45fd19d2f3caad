"""Figures that a process tells about itself. `shelfbridge.triton` shows them among the server's metrics."""


class Gauge:
    """A number with a name, as Prometheus has it. It may rise and fall."""

    ALL: "list[Gauge]" = []  # noqa: RUF012 - all gauges of the process, in the order of their making

    def __init__(self, name: str, description: str) -> None:
        self.name, self.description, self.value = name, description, 0.0
        Gauge.ALL.append(self)

    def set(self, value: float) -> None:
        """Set the number."""
        self.value = value

    def add(self, amount: float = 1.0) -> None:
        """Add to the number."""
        self.value += amount
