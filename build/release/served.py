"""The stages that decide what is served: all candidates are their inputs, and their results hold what was kept.

One network after another: each decision is made among what the decisions before it left in force, as it will be served.
What the stages do is in `build.release.decide`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from build.declaration import Stage
from build.settings import Settings
from build.shop import CHOOSING, TEXTS
from build.stages import EXPORT, HEADS, INFERENCE, Originals, Stages


@dataclass(frozen=True, eq=False)
class Served:
    """What is served of each network. Students are trained only where the settings ask for them."""

    stages: Stages

    @property
    def settings(self) -> Settings:
        """Of the build."""
        return self.stages.shop.settings

    @property
    def made(self) -> Originals:
        """The fine-tuned networks."""
        return self.stages.originals

    @cached_property
    def parts(self) -> dict[str, Stage]:
        """By network, what goes into a release, each decided after those before it."""
        return {"encoder": self.encoder, "ranker": self.ranker, "cross_encoder": self.cross_encoder}

    @cached_property
    def encoder_graph(self) -> Stage:
        """The student's graph in fp32, or its teacher's."""
        if self.settings.encoder_student is None:
            return self.made.encoder_graph
        student = self.stages.encoder_graph(self.stages.encoder_student(self.settings.encoder_student))
        return self._decision("encoder-chosen", "choose_encoder", {"student": student})

    @cached_property
    def encoder(self) -> Stage:
        """The encoder in int8 or fp32."""
        compressed = self.stages.compressed("encoder", self.encoder_graph)
        return self._decision("encoder-served", "serve_encoder", {"compressed": compressed})

    @cached_property
    def head(self) -> Stage:
        """The ranker's head and its graph: fitted to what the served encoder makes of queries, or a plain order's.

        In int8 an encoder is still the one that the head was fitted to; a student is another.
        """
        made, shop = self.made, self.stages.shop
        known = {
            "catalogue": shop.products(*TEXTS),
            "judgments": shop.judged(*CHOOSING),
            "tokenizer": made.tokenizer,
            "index": made.index,
            "graph": self.encoder,
        }
        more: dict[str, Any] = {"given": {"console": shop.console}, "libraries": HEADS}
        fitted = made.ranker
        if self.settings.encoder_student:
            fitted = self.stages.declare(
                "ranker-fitted",
                "build.release.decide:fit_ranker",
                version=2,
                inputs={
                    **known,
                    "pieces": made.pieces,
                    "cross_encoder": made.cross_encoder,
                    "chosen": self.encoder_graph,
                    "encoder_graph": made.encoder_graph,
                    "ranker": made.ranker,
                },
                parameters={"settings": self.stages.head_settings},
                learns=True,
                **more,
            )
        plain = self.stages.declare("ranker-plain", "build.release.decide:plain_ranker", inputs=known, **more)
        return self._decision(
            "ranker-chosen", "choose_ranker", {"fitted": fitted, "plain": plain, "served_encoder": self.encoder}
        )

    @cached_property
    def ranker(self) -> Stage:
        """The ranker in every form; the CPU's is in fp32."""
        return self.stages.compressed("ranker", self.head, served_encoder=self.encoder)

    @cached_property
    def cross_encoder(self) -> Stage:
        """The student's cross-encoder or its teacher, in int8 or fp32; the ranker alone where it does not help."""
        stages, made, compression = self.stages, self.made, self.settings.compression
        int8 = compression.precision == "int8"
        left_out = stages.declare(
            "cross-encoder-left-out",
            "build.compression.export:export_ranker_alone",
            parameters={"forms": ("fp32.onnx", *["fp16.onnx"] * compression.half, *["int8.onnx"] * int8)},
            libraries=EXPORT,
        )
        beside = {"left_out": left_out, "served_encoder": self.encoder, "served_ranker": self.head}
        weight = self._weight(made.cross_encoder, before=stages.blend(made.cross_encoder))
        candidates = {"weight": weight, "teacher": self._graph(made.cross_encoder, weight)}
        if self.settings.cross_encoder_student:
            student = stages.cross_encoder_student(self.settings.cross_encoder_student, only_after=weight)
            weight = self._weight(student)
            candidates |= {"student_weight": weight, "student": self._graph(student, weight)}
        graph = self._decision("cross-encoder-chosen", "choose_cross_encoder", {**candidates, **beside})
        compressed = stages.compressed("cross_encoder", graph, **beside)
        return self._decision("cross-encoder-served", "serve_cross_encoder", {"compressed": compressed, **beside})

    @cached_property
    def gate(self) -> Stage:
        """All stages, held each against the one before it."""
        parts = {f"served_{name}": one for name, one in self.parts.items()}
        return self._decision("gate", "hold_all", parts, version=2)

    def _weight(self, reader: Stage, **before: Stage) -> Stage:
        return self.stages.weight(
            f"{reader.name}-weight",
            "build.release.decide:weigh",
            reader,
            graph=self.encoder,
            ranker=self.head,
            chosen=self.encoder_graph,
            encoder_graph=self.made.encoder_graph,
            ranker_graph=self.made.ranker,
            **before,
        )

    def _graph(self, reader: Stage, weight: Stage) -> Stage:
        return self.stages.reader_graph(f"{reader.name}-weighed", reader, weight)

    def _decision(self, name: str, work: str, candidates: Mapping[str, Stage], version: int = 1) -> Stage:
        """A decision between candidates, by what shoppers would see of them."""
        shop = self.stages.shop
        return self.stages.declare(
            name,
            f"build.release.decide:{work}",
            version=version,
            inputs={
                **self.stages.whole,
                **candidates,
                "catalogue": shop.products(*TEXTS),
                "judgments": shop.judged(*CHOOSING),
            },
            parameters={"chosen": self.settings.compression},
            given={"console": shop.console},
            libraries=("ir-measures", "scipy", *INFERENCE),
        )
