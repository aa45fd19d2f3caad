"""Everything kept per product and read at search time: candidates, pairs for the cross-encoder, payloads.

The build writes these folders, and a change of the catalogue writes its own beside them; the Triton steps and the
offline evaluation open the same ones, so that what was evaluated is what is served.
"""

from shelfbridge.retrieval.index import CandidateIndex, Candidates, Columns
from shelfbridge.retrieval.pairs import ProductPairs, Shortlist
from shelfbridge.retrieval.store import ProductStore

__all__ = ["CandidateIndex", "Candidates", "Columns", "ProductPairs", "ProductStore", "Shortlist"]
