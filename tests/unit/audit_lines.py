"""Lines as the gateway writes them, and the audit log made of them."""

import json
import uuid
from pathlib import Path
from typing import Any

from deploy.audit.chain import Chain
from deploy.audit.log import AuditLog

CHAIN = Chain(b"k" * 32)


def gateway_line(number: int = 0, **fields: Any) -> bytes:
    line = {
        "time": "2026-11-27T01:02:03.456Z",
        "request_id": str(uuid.UUID(int=number)),
        "subject": "shop-frontend",
        "method": "/inference.GRPCInferenceService/ModelInfer",
        "model": "search",
        "version": None,
        "site": "private",
        "decision": "private",
        "reason": "a user",
        "status": "OK",
        "http_status": 200,
        "flags": "-",
        "attempts": 1,
        "latency_ms": 12,
        **fields,
    }
    return json.dumps(line).encode() + b"\n"


def write_log(folder: Path, lines: int, *, max_bytes: int = 1000) -> Path:
    """A log of small files, written in batches of three."""
    with AuditLog(folder, CHAIN, max_bytes=max_bytes) as log:
        for start in range(0, lines, 3):
            log.append([({"request_id": f"{n:08}"}, n) for n in range(start, min(start + 3, lines))])
    return folder
