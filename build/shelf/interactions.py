"""What shoppers did, in the order of time, as arrays.

Shops write it down in many forms; two are read here: a table of interactions (user, product, time, and whatever else is
known) and UCI Online Retail's invoices (Chen 2015, doi:10.24432/C5BW33).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shelfbridge.errors import DataError
from shelfbridge.shelf.history import DAY

__all__ = ["DAY", "Interactions", "read"]
INVOICES = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
TABLE = ("user", "product_id", "time")
_PRODUCT_CODE = r"\d{5}[A-Za-z]*"
"""Online Retail's codes of products; the others are postage, fees, manual entries and vouchers."""


@dataclass(frozen=True)
class Interactions:
    """N interactions in the order of their time; what happened at one time stays in the order of the file."""

    user: NDArray[np.int32]
    """Number of the user [N]."""
    item: NDArray[np.int32]
    """Number of the product [N]."""
    time: NDArray[np.int64]
    """Seconds since 1970, UTC [N]."""
    basket: NDArray[np.int32]
    """Number of the visit or invoice that it belongs to [N]; a basket has one user and one time."""
    quantity: NDArray[np.float32]
    price: NDArray[np.float32]
    """Of one piece, NaN where it is not known [N]."""
    users: tuple[str, ...]
    """Ids of the users by number."""
    items: tuple[str, ...]
    """Ids of the products by number."""
    titles: tuple[str, ...]
    """What the products are called, by number."""

    def __len__(self) -> int:
        return len(self.user)

    def where(self, some: NDArray[np.bool_]) -> "Interactions":
        """Some of them [N], with the same numbers."""
        columns: dict[str, Any] = {
            name: column[some] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        return replace(self, **columns)

    def before(self, time: int) -> "Interactions":
        """What happened before a time."""
        return self.where(self.time < time)

    def between(self, begin: int, end: int) -> "Interactions":
        """What happened from one time on, before another."""
        return self.where((self.time >= begin) & (self.time < end))


def read(file: Path) -> Interactions:
    """Read a `.parquet`, `.csv` or `.jsonl` file of either form, told by its columns.

    Of a table: `user`, `product_id`, `time` (seconds since 1970 or ISO 8601); optional `basket` (else what a user did
    at one time; it happened when it began), `quantity` (else 1), `price`, `title`. Of invoices: lines with a customer,
    a product, a quantity and a price above 0; cancellations are left out, as Online Retail does not say what they take
    back.

    Raises:
        DataError: the file is missing, of another kind, or holds no interaction.
    """
    frame = _frame(file)
    if set(INVOICES) <= set(frame.columns):
        frame = _invoices(frame)
    elif set(TABLE) <= set(frame.columns):
        frame = frame.dropna(subset=list(TABLE))
    else:
        raise DataError(f"{file}: needs the columns {', '.join(TABLE)}; it has {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise DataError(f"{file}: holds no interaction of a known user with a product")
    try:
        return _interactions(frame)
    except (ValueError, TypeError) as error:
        told = str(error).splitlines()[0]  # advice on pandas follows
        raise DataError(
            f"{file}: a time, quantity or price cannot be read ({told}); a time is seconds since 1970 or ISO 8601, "
            "the others are numbers"
        ) from error


def _frame(file: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".parquet": pd.read_parquet,
        ".csv": lambda path: pd.read_csv(path, dtype=dict.fromkeys(("user", "product_id", "basket"), str)),
        ".jsonl": lambda path: pd.read_json(path, lines=True, dtype={"user": str, "product_id": str}),
    }
    if file.suffix not in readers:
        raise DataError(f"{file}: not a kind of file that is read here; give {', '.join(readers)}")
    try:
        return readers[file.suffix](file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error})") from error


def _invoices(frame: pd.DataFrame) -> pd.DataFrame:
    sold = (
        frame.CustomerID.notna()
        & (frame.Quantity > 0)
        & (frame.UnitPrice > 0)
        & frame.StockCode.astype(str).str.fullmatch(_PRODUCT_CODE)
        & ~frame.InvoiceNo.astype(str).str.startswith("C")
    )
    frame = frame[sold]
    return pd.DataFrame(
        {
            "user": frame.CustomerID.astype(int).astype(str),
            "product_id": frame.StockCode.astype(str).str.upper(),
            "time": frame.InvoiceDate,
            "basket": frame.InvoiceNo.astype(str),
            "quantity": frame.Quantity,
            "price": frame.UnitPrice,
            "title": frame.Description,
        }
    )


def _interactions(frame: pd.DataFrame) -> Interactions:
    time = frame["time"]
    if not pd.api.types.is_numeric_dtype(time):
        time = pd.to_datetime(time, utc=True, format="ISO8601").astype("datetime64[s, UTC]").astype("int64")
    frame = frame.assign(time=time.astype("int64"))
    if "basket" in frame:
        frame = frame.assign(time=frame.groupby("basket")["time"].transform("min"))
    frame = frame.sort_values("time", kind="stable")
    user, users = _numbered(frame["user"])
    item, items = _numbered(frame["product_id"])
    named = frame["basket"] if "basket" in frame else frame["user"].astype(str) + " " + frame["time"].astype(str)
    basket, _ = _numbered(named)
    titles = frame.groupby("product_id", sort=False)["title"].agg(_commonest) if "title" in frame else {}
    return Interactions(
        user=user,
        item=item,
        time=frame["time"].to_numpy(np.int64),
        basket=basket,
        quantity=_column(frame, "quantity", 1.0),
        price=_column(frame, "price", np.nan),
        users=users,
        items=items,
        titles=tuple(str(titles.get(item, "")) for item in items),
    )


def _numbered(column: "pd.Series[str]") -> tuple[NDArray[np.int32], tuple[str, ...]]:
    codes, names = pd.factorize(column.astype(str))
    return codes.astype(np.int32), tuple(names)


def _commonest(titles: "pd.Series[str]") -> str:
    known: Sequence[str] = titles.dropna().str.strip().mode().tolist()
    return known[0] if known else ""


def _column(frame: pd.DataFrame, name: str, default: float) -> NDArray[np.float32]:
    return frame[name].to_numpy(np.float32) if name in frame else np.full(len(frame), default, np.float32)
