"""What a build is told: how long to train, on how much. A preset is one set of it."""

from dataclasses import dataclass, field, replace


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


FULL = Settings(
    encoder=EncoderSettings(Training(epochs=3, batch=32, learning_rate=2e-5, patience=1), judged=4000, synthetic=1000),
    cross_encoder=CrossEncoderSettings(Training(epochs=1, batch=16, learning_rate=5e-5), judged=6000, synthetic=1000),
    ranker=RankerSettings(teacher_queries=200),
)
QUICK = replace(
    FULL,
    encoder=EncoderSettings(
        Training(epochs=1, batch=24, learning_rate=5e-5), judged=1100, synthetic=0, dev_queries=10, tokens=48
    ),
    cross_encoder=CrossEncoderSettings(
        Training(epochs=1, batch=16, learning_rate=8e-5), judged=1200, synthetic=0, dev_queries=5
    ),
    ranker=RankerSettings(teacher_queries=20),
)
SMOKE = replace(
    FULL,
    encoder=EncoderSettings(Training(epochs=1, batch=8, learning_rate=5e-5), judged=16, synthetic=8, dev_queries=2),
    cross_encoder=CrossEncoderSettings(
        Training(epochs=1, batch=8, learning_rate=5e-5), judged=16, synthetic=8, dev_queries=2
    ),
    ranker=RankerSettings(teacher_queries=4),
)
PRESETS = {"quick": QUICK, "full": FULL, "smoke": SMOKE}
"""`full` is what a shop serves; `quick` fits a coffee break; `smoke` only shows that every stage runs."""
