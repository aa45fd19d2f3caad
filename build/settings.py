"""What a build is told: how long to train, on how much. A preset is one set of it."""

from dataclasses import dataclass, field, replace
from typing import Literal

from build.narrow import Shape

Method = Literal["max", "entropy", "percentile"]
"""Of choosing an activation's range: its largest value, least relative entropy (Migacz, GTC 2017), or a percentile."""

Precision = Literal["int8", "fp32"]


@dataclass(frozen=True)
class Training:
    """One fine-tuning run. `batch` counts queries; `patience` is how many validations without gain end it."""

    epochs: int
    batch: int
    learning_rate: float
    warmup: float = 0.1
    patience: int = 2
    seed: int = 7


@dataclass(frozen=True)
class EncoderSettings:
    """Fine-tuning of the encoder."""

    training: Training
    judged: int
    """Most judged pairs used in an epoch."""
    synthetic: int
    """Pairs of a query made from a product's own words, per epoch."""
    dev_queries: int = 60
    tokens: int = 64
    """Word pieces of a product read in training; the index holds more."""


@dataclass(frozen=True)
class CrossEncoderSettings:
    """Fine-tuning of the cross-encoder."""

    training: Training
    judged: int
    synthetic: int
    dev_queries: int = 40


@dataclass(frozen=True)
class RankerSettings:
    """Training of the ranker's head."""

    teacher_queries: int
    """Training queries whose candidates the cross-encoder scores as the teacher."""
    decay: float = 3e-4
    """Weight of the head's squared weights in its loss."""
    blend_queries: int = 1000
    """Dev queries that say how much the cross-encoder counts in `search_deep`."""


@dataclass(frozen=True)
class ShelfSettings:
    """Learning a shelf from interactions."""

    training: Training = Training(epochs=24, batch=128, learning_rate=4e-3, patience=24)
    """Of the user encoder."""
    refresh: int = 6
    """Epochs, at half the rate, when later baskets are added to what was learned."""
    head_epochs: int = 30
    """Of the ranker."""
    baskets: int = 1_000_000
    """Most that an epoch learns from, the latest."""
    weeks: int = 4
    """Most of a window of time, of which there are six at least."""


@dataclass(frozen=True)
class Student:
    """A smaller network that learns from a fine-tuned one."""

    shape: Shape
    training: Training
    texts: int
    """That an encoder's student reads in an epoch; queries beside train's whose candidates a cross-encoder's reads."""


@dataclass(frozen=True)
class Compression:
    """From fp32 to what is served."""

    precision: Precision = "int8"
    """Of the linear layers on the CPU."""
    half: bool = True
    """Whether to write the fp16 graph too, for engines."""
    methods: tuple[Method, ...] = ("entropy", "percentile")
    """Ways of calibration that are tried; nDCG@10 chooses."""
    insisted: bool = False
    """Whether the caller asked for this precision: then a network that does not pass is refused, not replaced."""
    budget: float = 0.005
    """nDCG@10 that a compressed network may lose against its fp32 original; else that takes its place."""
    queries: int = 150
    """Judged queries that are compared, those of dev first."""
    most_error: float = 0.01
    """1 - cosine of the outputs down to which the worst layers stay in floating point where the budget is broken."""


@dataclass(frozen=True)
class Settings:
    """All that a build is told beside its data."""

    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hugging Face id or folder of the encoder."""
    teacher: str | None = None
    """The same of the cross-encoder; None for the encoder's base. Their tokenisers must be equal."""
    encoder: EncoderSettings = field(kw_only=True)
    cross_encoder: CrossEncoderSettings = field(kw_only=True)
    ranker: RankerSettings = field(kw_only=True)
    encoder_student: Student | None = None
    """None: the fine-tuned encoder itself reads queries."""
    cross_encoder_student: Student | None = None
    """None: the fine-tuned cross-encoder itself is served."""
    compression: Compression = Compression()
    shelf: ShelfSettings = ShelfSettings()
    vectors: str = "faiss"
    """Where the products' vectors go: `faiss`, `milvus`, or an address of Milvus."""


FULL = Settings(
    encoder=EncoderSettings(Training(epochs=3, batch=32, learning_rate=2e-5, patience=1), judged=4000, synthetic=1000),
    cross_encoder=CrossEncoderSettings(Training(epochs=1, batch=16, learning_rate=5e-5), judged=6000, synthetic=1000),
    ranker=RankerSettings(teacher_queries=200),
    encoder_student=Student(Shape(2, 12, 1536), Training(epochs=3, batch=64, learning_rate=3e-4), texts=12000),
    cross_encoder_student=Student(Shape(2, 4, 384), Training(epochs=10, batch=32, learning_rate=5e-4), texts=200),
)
QUICK = replace(
    FULL,
    encoder=EncoderSettings(
        Training(epochs=1, batch=24, learning_rate=5e-5), judged=1100, synthetic=0, dev_queries=10, tokens=48
    ),
    cross_encoder=CrossEncoderSettings(
        Training(epochs=1, batch=16, learning_rate=8e-5), judged=1200, synthetic=0, dev_queries=5
    ),
    ranker=RankerSettings(teacher_queries=20, blend_queries=40),
    encoder_student=None,
    cross_encoder_student=None,
    compression=Compression(half=False, queries=30, budget=0.02),
    shelf=ShelfSettings(Training(epochs=2, batch=128, learning_rate=4e-3), refresh=1, head_epochs=6, baskets=5000),
)
SMOKE = replace(
    FULL,
    encoder=EncoderSettings(Training(epochs=1, batch=8, learning_rate=5e-5), judged=16, synthetic=8, dev_queries=2),
    cross_encoder=CrossEncoderSettings(
        Training(epochs=1, batch=8, learning_rate=5e-5), judged=16, synthetic=8, dev_queries=2
    ),
    ranker=RankerSettings(teacher_queries=4),
    encoder_student=Student(Shape(1, 12, 512), Training(epochs=1, batch=64, learning_rate=1e-4), texts=128),
    cross_encoder_student=Student(Shape(2, 12, 1024), Training(epochs=1, batch=16, learning_rate=3e-4), texts=2),
    compression=Compression(methods=("max",), queries=6, budget=1.0),
    shelf=ShelfSettings(Training(epochs=1, batch=128, learning_rate=4e-3), refresh=1, head_epochs=1),
)
PRESETS = {"quick": QUICK, "full": FULL, "smoke": SMOKE}
"""`full` is what a shop serves; `quick` fits a coffee break; `smoke` only shows that every stage runs."""
