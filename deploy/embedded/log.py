"""Why a server did not start or died, read from its log."""

import re
from collections.abc import Iterator
from pathlib import Path

_FAILED_MODEL = re.compile(r"\"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.*)\"$", re.MULTILINE)
_FAILED_REST = re.compile(r"^(?:E\d{4} \S+ \d+ \S+\] \"(?P<logged>.*)\"|error: (?P<said>.*))$", re.MULTILINE)
_HARMLESS = re.compile(r"CudaDriverHelper|unable to create stream for|NVML|DCGM|Failed to create instance")
"""What the server calls errors where there is no GPU, and what it says twice."""
_FIRST_OF_MANY = re.compile(r"\\n\\nAt:.*|\\n.*")
_ERROR_CLASS = re.compile(r"^(?:Internal: )?(?:(?:ArtefactError|RuntimeError): )?")


def reason(log: Path) -> str:
    """One or two sentences: the models that failed to load, or else the last error in the log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    models = {match["model"]: _short(match["reason"]) for match in _FAILED_MODEL.finditer(text)}
    if models:
        return "; ".join(f"model {model}: {why}" for model, why in sorted(models.items()))
    errors = [match["logged"] or match["said"] for match in _FAILED_REST.finditer(text)]
    errors = [error for error in errors if not _HARMLESS.search(error)]
    # The first errors name the cause, "error: creating server" that follows them does not
    return _short(errors[0]) if errors else "the log names no error, so it was killed (out of memory?)"


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of the log."""
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if log.is_file() else []


def follow(log: Path) -> Iterator[str]:
    """What is added to the log from now on, an empty string where there is nothing new yet."""
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while True:
            yield file.readline()


def _short(text: str) -> str:
    return _ERROR_CLASS.sub("", _FIRST_OF_MANY.sub("", text)).strip()
