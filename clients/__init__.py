"""Online programs: they ask a running server, through `shelfbridge.client` only."""

import os

# gRPC writes its notes on handshakes and reconnects to stderr, between a program's own lines; what matters in them is
# in the client's errors. It reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
