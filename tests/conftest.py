"""How tests are shared out among processes (`pytest -n 2 --dist loadscope`): what shares a server stays in one."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

WHOLE = ("functional", "gateway", "dates")
"""Folders whose tests share servers, releases or the machine's clock."""


class Sharing(LoadScopeScheduling):
    """A folder of servers goes to one process; elsewhere a file does, so that what it prepares is made once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", maxsplit=1)[0]
        folder = path.split("/")[1]
        return folder if folder in WHOLE else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    """Return what shares them out."""
    return Sharing(config, log)
