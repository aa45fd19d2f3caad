"""The stages of a build, and what each is made from.

The originals are the fine-tuned networks in fp32; students and compressed forms come after them.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from build import calibration, compress, cross_encoder, distil, encoder, export, index, opinions, prune
from build import ranker as ranking
from build.foreign import ForeignPairs
from build.models import CrossEncoder, Encoder
from build.narrow import shape_of
from build.offline import Ensembles
from build.panel import Network, Panel, Stage, to_learn_from, with_network
from build.recommend import learn, train
from build.recommend.learn import Behaviour
from build.settings import Settings, Student
from build.tokenizer import write_tokenizer
from build.workspace import Workspace
from shelfbridge.catalogue import Catalogue, Judgments


@dataclass(frozen=True)
class Shop:
    """What a build starts from. `data` is the identity of the data files."""

    catalogue: Catalogue
    judgments: Judgments
    foreign: ForeignPairs
    data: str
    settings: Settings
    console: Console
    behaviour: Behaviour | None = None
    """What shoppers did; without it there is no shelf."""

    @property
    def known(self) -> dict[str, Any]:
        """The data, as most stages take them."""
        return {"catalogue": self.catalogue, "judgments": self.judgments}

    @property
    def learnable(self) -> dict[str, Any]:
        """The same, as compression may see them."""
        return {"catalogue": self.catalogue, "judgments": to_learn_from(self.judgments)}

    @property
    def panel(self) -> Panel:
        """The queries that compression is reported by."""
        return Panel.of(self.catalogue, self.judgments, self.settings.compression.queries)

    @property
    def panels(self) -> tuple[Panel, Panel]:
        """The queries that choose among ways of compression, and those that judge what was chosen."""
        return Panel.apart(self.catalogue, self.judgments, self.settings.compression.queries)


@dataclass(frozen=True)
class Originals:
    """Folders of the fine-tuned networks in fp32 and of all that is computed per product."""

    tokenizer: Path
    pieces: Path
    store: Path
    encoder: Path
    encoder_graph: Path
    index: Path
    cross_encoder: Path
    ranker: Path
    ranker_graph: Path
    feeds: Path

    @property
    def retrieval(self) -> dict[str, Any]:
        """The folders that find candidates, as the stages after it take them."""
        return {"tokenizer": self.tokenizer, "graph": self.encoder_graph, "index": self.index}

    @property
    def networks(self) -> dict[str, str]:
        """Stage folders of the fine-tuned transformers, as a release's manifest names them."""
        return {one.parent.name: f"{one.parent.name}/{one.name}" for one in (self.encoder, self.cross_encoder)}

    def ensembles(self, cross_encoder_graph: Path) -> Ensembles:
        """All steps in this process."""
        return Ensembles.open(
            tokenizer=self.tokenizer,
            encoder=self.encoder_graph / "model.onnx",
            index=self.index,
            ranker=self.ranker_graph / "model.onnx",
            pieces=self.pieces,
            cross_encoder=cross_encoder_graph / "model.onnx",
        )


def _local(base: str) -> Path | str:
    """A base model's folder, which counts by its content, or its Hugging Face id."""
    return Path(base) if Path(base).is_dir() else base


@dataclass(frozen=True)
class Stages:
    """The stages of a shop, each run once for what it is made from."""

    space: Workspace
    shop: Shop

    def originals(self) -> Originals:
        """Fine-tune, export in fp32, and index."""
        space, shop = self.space, self.shop
        settings, data = shop.settings, shop.data
        more = {**shop.known, "settings": settings, "console": shop.console}
        base, teacher_base = (_local(name) for name in (settings.base, settings.teacher or settings.base))
        words = space.stage(
            "tokenizer",
            partial(write_tokenizer, settings=settings, **shop.known),
            base=base,
            teacher=teacher_base,
            data=data,
        )
        pieces = space.stage(
            "pieces", partial(index.write_pieces, catalogue=shop.catalogue, tokenizer=words), data=data, tokenizer=words
        )
        store = space.stage("store", partial(index.write_store, catalogue=shop.catalogue), data=data)
        trained = space.stage(
            "encoder",
            partial(encoder.train, tokenizer=words, **more),
            data=data,
            tokenizer=words,
            base=base,
            of=settings.encoder,
        )
        graph = self.encoder_graph(trained)
        indexed = space.stage(
            "index",
            partial(
                index.write_index,
                catalogue=shop.catalogue,
                queries=list(shop.judgments.of("train").queries.values()),
                tokenizer=words,
                graph=graph,
                where=settings.vectors,
                console=shop.console,
            ),
            data=data,
            graph=graph,
            where=settings.vectors,
        )
        teacher = space.stage(
            "cross-encoder",
            partial(cross_encoder.train, tokenizer=words, pieces=pieces, foreign=shop.foreign.rows, **more),
            data=data,
            pieces=pieces,
            foreign=shop.foreign.rows,
            base=teacher_base,
            of=settings.cross_encoder,
        )
        head = space.stage(
            "ranker",
            partial(
                ranking.train, tokenizer=words, graph=graph, index=indexed, pieces=pieces, cross_encoder=teacher, **more
            ),
            index=indexed,
            teacher=teacher,
            of=settings.ranker,
        )
        head_graph = space.stage("ranker-onnx", partial(export.export_ranker, trained=head), trained=head)
        feeds = space.stage(
            "feeds",
            partial(
                calibration.write_feeds,
                tokenizer=words,
                graph=graph,
                index=indexed,
                ranker=head_graph,
                pieces=pieces,
                **shop.learnable,
            ),
            index=indexed,
            ranker=head_graph,
            pieces=pieces,
        )
        return Originals(words, pieces, store, trained, graph, indexed, teacher, head, head_graph, feeds)

    def encoder_graph(self, trained: Path) -> Path:
        """Folder of an encoder's fp32 graph."""
        return self.space.stage(
            f"{trained.parent.name}-onnx", partial(export.export_encoder, trained=trained), trained=trained
        )

    def encoder_student(self, made: Originals, student: Student) -> Path:
        """Folder of a pruned and distilled encoder for queries."""
        student = replace(student, shape=student.shape.within(shape_of(Encoder.load(made.encoder).trunk)))
        cut = self.space.stage(
            f"encoder-pruned-{student.shape}",
            partial(
                prune.prune_encoder,
                model=made.encoder,
                tokenizer=made.tokenizer,
                shape=student.shape,
                **self.shop.learnable,
            ),
            model=made.encoder,
            shape=student.shape,
        )
        return self.space.stage(
            f"encoder-student-{student.shape}",
            partial(
                distil.distil_encoder,
                teacher=made.encoder,
                student=cut,
                tokenizer=made.tokenizer,
                texts=student.texts,
                training=student.training,
                console=self.shop.console,
                **self.shop.learnable,
            ),
            student=cut,
            texts=student.texts,
            of=student.training,
        )

    def cross_encoder_student(self, made: Originals, student: Student) -> Path:
        """Folder of a pruned and distilled cross-encoder."""
        whole = shape_of(CrossEncoder.load(made.cross_encoder).trunk)
        student = replace(student, shape=student.shape.within(whole))
        asked = self.space.stage(
            "opinions",
            partial(
                opinions.ask,
                teacher=made.cross_encoder,
                pieces=made.pieces,
                synthetic=student.texts,
                console=self.shop.console,
                **made.retrieval,
                **self.shop.learnable,
            ),
            teacher=made.cross_encoder,
            index=made.index,
            queries=student.texts,
        )
        cut = self.space.stage(
            f"cross-encoder-pruned-{student.shape}",
            partial(
                prune.prune_cross_encoder,
                model=made.cross_encoder,
                tokenizer=made.tokenizer,
                pieces=made.pieces,
                shape=student.shape,
                **self.shop.learnable,
            ),
            model=made.cross_encoder,
            shape=student.shape,
        )
        return self.space.stage(
            f"cross-encoder-student-{student.shape}",
            partial(
                distil.distil_cross_encoder,
                opinions=asked,
                student=cut,
                tokenizer=made.tokenizer,
                pieces=made.pieces,
                training=student.training,
                console=self.shop.console,
            ),
            opinions=asked,
            student=cut,
            of=student.training,
        )

    def compressed(self, made: Originals, network: Network, graph: Path, whole: Ensembles) -> Path:
        """Folder of a network in every form that is served."""
        stage: Stage = "deep" if network == "cross_encoder" else "ranked"
        panel, _ = self.shop.panels

        def judge(running: Any) -> float:
            return float(panel.judge(with_network(whole, network, running), stage, self.shop.console).ndcg.mean())

        return self.space.stage(
            graph.parent.name.replace("-onnx", "-compressed"),
            partial(
                compress.compress,
                network=network,
                graph=graph,
                feeds=made.feeds,
                chosen=self.shop.settings.compression,
                judge=judge,
                console=self.shop.console,
            ),
            network=network,
            graph=graph,
            feeds=made.feeds,
            ranker=made.ranker_graph,
            of=self.shop.settings.compression,
        )

    def shelf(self, made: Originals, behaviour: Behaviour) -> Path:
        """Folder of a shelf's networks and products, each in a folder of its own."""
        settings = self.shop.settings
        trained = settings.shelf
        return self.space.stage(
            "shelf",
            partial(
                learn.learn,
                behaviour=behaviour,
                index=made.index,
                settings=train.Settings(
                    training=trained.training,
                    refresh=trained.refresh,
                    head_epochs=trained.head_epochs,
                    baskets=trained.baskets,
                ),
                compression=settings.compression,
                weeks=trained.weeks,
                place=settings.vectors,
                console=self.shop.console,
            ),
            data=self.shop.data,
            behaviour=behaviour.identity,
            index=made.index,
            of=trained,
            compression=settings.compression,
            place=settings.vectors,
        )

    def blended(self, made: Originals, reader: Path) -> Path:
        """Folder of a cross-encoder's fp32 graph, with the weight that dev gives it beside the ranker."""
        choice = self.space.stage(
            f"{reader.parent.name}-blend",
            partial(
                ranking.write_blend,
                ranker=made.ranker,
                cross_encoder=reader,
                pieces=made.pieces,
                queries=self.shop.settings.ranker.blend_queries,
                console=self.shop.console,
                **made.retrieval,
                **self.shop.known,
            ),
            ranker=made.ranker,
            reader=reader,
            queries=self.shop.settings.ranker.blend_queries,
        )
        weight = float(np.load(choice / "blend.npy"))
        return self.reader_graph(reader, weight)

    def reader_graph(self, reader: Path, weight: float) -> Path:
        """Folder of a cross-encoder's fp32 graph that blends its logits so."""
        return self.space.stage(
            f"{reader.parent.name}-onnx",
            partial(export.export_cross_encoder, trained=reader, weight=weight),
            trained=reader,
            weight=weight,
        )
