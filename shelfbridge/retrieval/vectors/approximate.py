"""Large catalogues: a few of many lists are scanned by one bit per number, and the best of them compared in fp16.

Vectors are sorted into lists by their nearest centroid (IVF: Sivic & Zisserman, ICCV 2003). Within a list a vector is
its signs after a random rotation (RaBitQ, arXiv:2405.12497), which FAISS compares 32 at a time; fp16 vectors decide.

Of what FAISS has, this found most in the least time. A graph (HNSW) is as quick for queries that resemble products, but
a shopper's few words lie far from all products, and there it found 0.7 to 0.8 of the truth. Eight bits a number reach
no more than 0.986 however much is compared. 4-bit product quantisation needs more comparisons in fp16.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.ragged import load
from shelfbridge.retrieval.vectors import exact, tuning

PER_LIST = 64
"""Fewest products for each list: FAISS stores 32 at a time, so shorter ones are half empty."""
TRAINING = 39
"""Vectors that each centroid is learnt from, the fewest that FAISS takes without a warning."""
CHUNK = 1 << 16
"""Vectors added at a time: adding makes a rotated copy."""
FEW, FEW_OF = 20_000, 20
"""A filter that leaves no more products than this, or than one in so many, has each of them compared."""
WIDER = 4
"""A filter may leave only what is far from the query, where lists tell less: up to so many times as many are seen."""
REFINED = (300, 600, 1200, 2400)
SHARES = (256, 128, 64, 32, 16, 8, 4, 2)
"""One in so many lists may be scanned."""
REFINING = 16
"""Comparing a vector in fp16 takes as long as scanning so many."""


@dataclass(frozen=True)
class Setting:
    """How thoroughly to search: lists scanned, and vectors compared in fp16."""

    probes: int
    refined: int


@dataclass(frozen=True)
class ApproximateVectors:
    """FAISS's IVF of RaBitQ codes with fp16 refinement.

    The fp16 vectors are mapped, one copy for all processes. FAISS cannot map the lists: some 84 bytes a product of 384
    numbers, a ninth of all, are each process's own.
    """

    index: Any
    lists: NDArray[np.uint32]
    """The list that each row is in."""
    setting: Setting

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(
        self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """As `Vectors.search`.

        A filter that leaves few products is answered exactly (in fp16). With any other, lists that hold allowed ones
        are scanned until as many of these were seen as are seen without it, and more the more it leaves out.
        """
        depth = min(depth, len(self))
        if allowed is None:
            return self._scan(query, depth, self.setting)
        count = int(np.count_nonzero(allowed))
        if count <= max(FEW, len(self) // FEW_OF):
            return exact.nearest(faiss.downcast_index(self.index.refine_index), query, depth, exact.only(allowed))
        ivf = faiss.extract_index_ivf(self.index)
        held = np.bincount(self.lists[allowed], minlength=ivf.nlist)
        lists = faiss.SearchParameters(sel=exact.selector(held > 0))
        chain = faiss.downcast_index(self.index.base_index).chain
        _, nearest = ivf.quantizer.search(chain.at(0).apply(query[None]), ivf.nlist, params=lists)
        seen = np.cumsum(held[nearest[0][nearest[0] >= 0]])
        wanted = self.setting.probes * len(self) / ivf.nlist * min(WIDER, len(self) / count)
        probes = 1 + int(np.searchsorted(seen, wanted))
        setting = Setting(min(probes, len(seen)), self.setting.refined)
        return self._scan(query, depth, setting, sel=exact.selector(allowed), quantizer_params=lists)

    def _scan(self, query: NDArray[np.float32], depth: int, setting: Setting, **narrowed: Any) -> NDArray[np.int64]:
        scan = faiss.SearchParametersIVF(nprobe=setting.probes, **narrowed)
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=max(1.0, setting.refined / depth),
            base_index_params=faiss.SearchParametersPreTransform(index_params=scan),
        )
        return exact.nearest(self.index, query, depth, parameters)

    def fetch(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """As `Vectors.fetch`; the numbers are fp16's."""
        vectors: NDArray[np.float32] = self.index.reconstruct_batch(rows)
        return vectors

    @classmethod
    def write(cls, folder: Path, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[str, Any]:
        """Write vectors [N, D], and choose the setting by queries [Q, D].

        Returns:
            The record that `open` takes.
        """
        index = trained(vectors)
        for start in range(0, len(vectors), CHUNK):
            index.add(vectors[start : start + CHUNK])
        lists = list_of_rows(faiss.extract_index_ivf(index))
        faiss.write_index(index, str(folder / exact.FILE))
        np.save(folder / "vectors.lists.npy", lists)
        made = cls(index, lists, Setting(0, 0))
        chosen, recall = tuning.choose(
            settings(len(vectors), faiss.extract_index_ivf(index).nlist),
            lambda setting, query: made._scan(query, min(tuning.AT, len(vectors)), setting),
            tuning.Truth.of(vectors, queries),
        )
        return {
            "in": "faiss",
            "probes": chosen.probes,
            "refined": chosen.refined,
            "recall_at_100": round(recall, 4),
            "queries": len(queries),
        }

    @classmethod
    def open(cls, folder: Path, record: dict[str, Any]) -> "ApproximateVectors":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the other.
        """
        index, lists = exact.mapped(folder), load(folder / "vectors.lists.npy").view(np.ndarray)
        if not isinstance(index, faiss.IndexRefine) or len(lists) != index.ntotal:
            raise ArtefactError(f"{folder / exact.FILE} does not belong to its record; build the release again")
        return cls(index, lists, Setting(int(record["probes"]), int(record["refined"])))


def trained(vectors: NDArray[np.float32]) -> Any:
    """An empty index for vectors [N, D], its centroids learnt from a part of them."""
    width = vectors.shape[1]
    rotated = 8 * math.ceil(width / 8)
    lists = list_count(len(vectors))
    kind = f"RR{rotated},IVF{lists},RaBitQfs,Refine(SQfp16)"
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).cp.max_points_per_centroid = TRAINING
    sample = np.random.default_rng(7).permutation(len(vectors))[: TRAINING * lists]
    index.train(vectors[np.sort(sample)])
    return index


def list_count(count: int) -> int:
    """Lists for so many vectors: finding the nearest centroids then costs as little as scanning their lists."""
    return max(1, min(round(8 * math.sqrt(count)), count // PER_LIST))


def list_of_rows(ivf: Any) -> NDArray[np.uint32]:
    """The list that each row is in, [N]."""
    lists = np.zeros(ivf.ntotal, np.uint32)
    for number in range(ivf.nlist):
        held = ivf.invlists.list_size(number)
        if held:
            lists[faiss.rev_swig_ptr(ivf.invlists.get_ids(number), held)] = number
    return lists


def settings(count: int, lists: int) -> Iterator[Setting]:
    """From the cheapest to the dearest, by comparisons."""
    every = {Setting(math.ceil(lists / share), refined) for share in SHARES for refined in REFINED}
    yield from sorted(every, key=lambda one: (one.probes * count / lists + REFINING * one.refined, one.refined))
