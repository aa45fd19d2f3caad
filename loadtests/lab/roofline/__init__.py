"""How much of this machine's arithmetic a search uses, and where the rest of its time goes."""

import os

# Bare arithmetic has one thread, as the served steps have; numpy and FAISS read this when they are first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
