"""What a build starts from, and the parts of it that a stage may read.

A stage is given what it declares and nothing else: products without the fields that it does not read, judgments without
the splits that it does not see. So what a stage reads cannot differ from what it is run again for.
"""

from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json
from rich.console import Console

from build.data.foreign import ForeignPairs
from build.declaration import Data
from build.settings import Settings
from build.workspace import tree_digest
from shelfbridge.catalogue import Catalogue, Judgments, Product, Split

if TYPE_CHECKING:
    from build.shelf.learn import Behaviour

TEXTS = ("product_id", "title", "brand", "color", "bullet_points", "description", "category")
"""Fields that networks and words are learned from."""
INDEXED = (*TEXTS, "rating_count")
"""Fields behind a candidate's signals, which the ranker learns from too: how often a product was rated is one."""
WHOLE = tuple(Product.model_fields)
"""All fields, prices and stock among them: for what is shown and filtered by."""
CHOOSING: tuple[Split, ...] = ("train", "dev")
"""The splits that a release is made with. Test is read by the evaluation alone."""


@dataclass(frozen=True, eq=False)
class Shop:
    """The data of a shop and what is to be made of it."""

    catalogue: Catalogue
    judgments: Judgments
    foreign: ForeignPairs
    data: str
    """Identity of the data files."""
    settings: Settings
    console: Console
    behaviour: "Behaviour | None" = None
    """What shoppers did; without it there is no shelf."""
    written: float | None = None
    """When the catalogue's file was written, seconds since 1970: it cannot know of later changes."""

    _read: dict[object, Data] = field(default_factory=dict, init=False, repr=False)
    """One of each, so that a digest is taken once, however many stages read it."""

    def products(self, *fields: str) -> Data:
        """All products, with some of their fields."""
        made = Data(lambda: _with_fields(self.catalogue, fields), lambda found: digest(found.products))
        return self._read.setdefault(("products", fields), made)

    def judged(self, *splits: Split) -> Data:
        """The judgments of some splits."""
        made = Data(lambda: _of(self.judgments, splits), lambda found: digest(found.rows))
        return self._read.setdefault(("judged", splits), made)

    def base_files(self, *bases: str | None) -> dict[str, Data]:
        """The files of the base models that are in folders; a Hugging Face id counts by itself."""
        folders = {base: Path(base) for base in bases if base and Path(base).is_dir()}
        return {
            f"files of {base}": self._read.setdefault(folder, Data(partial(Path, folder), tree_digest))
            for base, folder in folders.items()
        }

    @cached_property
    def learnable(self) -> Data:
        """The training judgments that compression may learn from."""

        def without_held_back() -> Judgments:
            from build.evaluation.panel import to_learn_from  # takes seconds to import

            return _of(to_learn_from(self.judgments), ("train",))

        return Data(without_held_back, lambda found: digest(found.rows))

    @cached_property
    def queries(self) -> Data:
        """Queries of shoppers."""
        return Data(lambda: list(self.judgments.of("train").queries.values()), digest)

    @cached_property
    def pairs(self) -> Data:
        """Judged pairs of another shop."""
        return Data(lambda: self.foreign.rows, digest)

    @cached_property
    def bought(self) -> Data:
        """What shoppers did."""
        return Data(lambda: self.behaviour, lambda found: str(found.identity))


def digest(rows: object) -> str:
    """sha256 of rows."""
    return sha256(to_json(rows)).hexdigest()


def _with_fields(catalogue: Catalogue, fields: tuple[str, ...]) -> Catalogue:
    if set(fields) == set(WHOLE):
        return catalogue
    products = (
        Product.model_construct(**{name: getattr(product, name) for name in fields}) for product in catalogue.products
    )
    return Catalogue(tuple(products), catalogue.rejected)


def _of(judgments: Judgments, splits: tuple[Split, ...]) -> Judgments:
    return Judgments(tuple(row for row in judgments.rows if row.split in splits), judgments.rejected)
