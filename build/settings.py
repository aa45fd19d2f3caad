"""What a build is told: how long to train, on how much.

A preset is a file of it in `build/presets`. A file of the user's (`--settings build.toml`), environment variables
(`SHELFBRIDGE_BUILD_…`, two underscores between a section and its entry) and flags
each win over what stands before them.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from shelfbridge.errors import SettingsError
from shelfbridge.request import explain

PRESETS = ("quick", "full", "smoke")
"""`full` is what a shop serves; `quick` fits a coffee break; `smoke` only shows that every stage runs."""
FOLDER = Path(__file__).parent / "presets"
STRICT = ConfigDict(extra="forbid")

Method = Literal["max", "entropy", "percentile"]
"""Of choosing an activation's range: its largest value, least relative entropy (Migacz, GTC 2017), or a percentile."""

Precision = Literal["int8", "fp32"]

Some = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class Shape:
    """What is left of a transformer: layers, and heads and feed-forward neurons in each of them."""

    layers: Some
    heads: Some
    neurons: Some

    def __str__(self) -> str:
        return f"{self.layers}x{self.heads}x{self.neurons}"

    def within(self, other: "Shape") -> "Shape":
        """As much of it as another has."""
        return Shape(min(self.layers, other.layers), min(self.heads, other.heads), min(self.neurons, other.neurons))


@dataclass(frozen=True, config=STRICT)
class Training:
    """One fine-tuning run. `batch` counts queries; `patience` is how many validations without gain end it."""

    epochs: Some
    batch: Some
    learning_rate: NotNegative
    warmup: Share = 0.1
    """Share of the steps in which the rate rises."""
    accumulation: Some = 1
    """Batches whose gradients are added up before each step."""
    patience: Some = 2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7


@dataclass(frozen=True, config=STRICT)
class EncoderSettings:
    """Fine-tuning of the encoder."""

    training: Training
    judged: Count
    """Most judged pairs used in an epoch."""
    synthetic: Count
    """Pairs of a query made from a product's own words, per epoch."""
    negatives: Count = 0
    """Wrong products per query that are mined from the catalogue, besides those that were judged worse."""
    dev_queries: Some = 60
    tokens: Some = 64
    """Word pieces of a product read in training; the index holds more."""


@dataclass(frozen=True, config=STRICT)
class CrossEncoderSettings:
    """Fine-tuning of the cross-encoder."""

    training: Training
    judged: Some
    synthetic: Count
    dev_queries: Some = 40


@dataclass(frozen=True, config=STRICT)
class RankerSettings:
    """Training of the ranker's head."""

    teacher_queries: Count
    """Training queries whose candidates the cross-encoder scores as the teacher."""
    decay: NotNegative = 3e-4
    """Weight of the head's squared weights in its loss."""
    blend_queries: Some = 1000
    """Dev queries that say how much the cross-encoder counts in `search_deep`."""


@dataclass(frozen=True, config=STRICT)
class ShelfSettings:
    """Learning a shelf from interactions."""

    training: Training = Training(epochs=24, batch=128, learning_rate=4e-3, patience=24)
    """Of the user encoder."""
    refresh: Some = 6
    """Epochs, at half the rate, when later baskets are added to what was learned."""
    head_epochs: Some = 30
    """Of the ranker."""
    baskets: Some = 1_000_000
    """Most that an epoch learns from, the latest."""
    weeks: Annotated[int, Field(ge=1, le=52)] = 4
    """Most of a window of time, of which there are six at least."""


@dataclass(frozen=True, config=STRICT)
class Student:
    """A smaller network that learns from a fine-tuned one."""

    shape: Shape
    training: Training
    texts: Count
    """That an encoder's student reads in an epoch; queries beside train's whose candidates a cross-encoder's reads."""


@dataclass(frozen=True, config=STRICT)
class Compression:
    """From fp32 to what is served."""

    precision: Precision = "int8"
    """Of the linear layers on the CPU."""
    half: bool = True
    """Whether to write the fp16 graph too, for engines."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("entropy", "percentile")
    """Ways of calibration that are tried; nDCG@10 chooses."""
    insisted: bool = False
    """Whether the caller asked for this precision: then a network that does not pass is refused, not replaced."""
    budget: Share = 0.005
    """nDCG@10 that a compressed network may lose against its fp32 original; else that takes its place."""
    queries: Some = 150
    """Most judged queries that choose a form, and most that judge what was chosen."""
    most_error: NotNegative = 0.01
    """1 - cosine of the outputs down to which the worst layers stay in floating point where the budget is broken."""
    sensitivity: bool = False
    """Whether to report what each layer loses by int8 even where the budget is kept."""


@dataclass(frozen=True, config=STRICT)
class Asking:
    """What the cross-encoder's student asks its teacher."""

    asked: Some = 24
    """Candidates of a query: those that are read when it is served, and some of the rest."""
    unseen: Annotated[int, Field(ge=2)] = 8
    """One training query in so many is not trained on: students' checkpoints are chosen by it."""


@dataclass(frozen=True, config=STRICT)
class IndexSettings:
    """Encoding and indexing of the products."""

    batch: Some = 64
    """Products that are encoded at a time."""
    likely: Some = 300
    """Queries by which search in a large catalogue is set up."""


def _none(value: object) -> object:
    return None if value == "none" else value


class Settings(BaseModel):
    """All that a build is told beside its data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hugging Face id or folder of the encoder."""
    teacher: str | None = None
    """The same of the cross-encoder; None for the encoder's base. Their tokenisers must be equal."""
    encoder: EncoderSettings
    cross_encoder: CrossEncoderSettings
    ranker: RankerSettings
    encoder_student: Annotated[Student | None, BeforeValidator(_none)] = None
    """None, "none" in a file: the fine-tuned encoder itself reads queries."""
    cross_encoder_student: Annotated[Student | None, BeforeValidator(_none)] = None
    """None, "none" in a file: the fine-tuned cross-encoder itself is served."""
    opinions: Asking = Asking()
    compression: Compression = Compression()
    shelf: ShelfSettings = ShelfSettings()
    index: IndexSettings = IndexSettings()
    vectors: str = "faiss"
    """Where the products' vectors go: `faiss`, `milvus`, or an address of Milvus."""


class Given(Settings, BaseSettings):
    """The same, and the files of the shop, read from a preset, a file, the environment and the command line."""

    model_config = SettingsConfigDict(
        env_prefix="SHELFBRIDGE_BUILD_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    catalogue: Path
    judgments: Path
    out: Path
    pairs: Path | None = None
    interactions: Path | None = None

    @property
    def settings(self) -> Settings:
        """What the stages are told."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})


def given(preset: str, file: Path | None, flags: dict[str, Any]) -> Given:
    """What a build is given by a preset, a file of the user's, the environment and flags.

    Raises:
        SettingsError: the file cannot be read, or a setting cannot be used.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"{file}: no such file; --settings takes a .toml file, such as those of {FOLDER}")
    files = [*([file] if file else []), FOLDER / f"{preset}.toml"]

    class Read(Given):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, *(TomlConfigSettingsSource(settings_cls, one) for one in files)

    try:
        return Read(**flags)
    except (ValidationError, ValueError) as error:
        reason = explain(error) if isinstance(error, ValidationError) else error
        told = f"{file}, SHELFBRIDGE_BUILD_…" if file else "SHELFBRIDGE_BUILD_…"
        raise SettingsError(f"a setting cannot be used ({reason}); see to {told} and the flags") from error


def preset(name: str) -> Settings:
    """What a preset says, whatever the environment does."""
    return Settings.model_validate(tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))
