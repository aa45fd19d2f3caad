"""The stages of a build, and what each is made from.

The originals are the fine-tuned networks in fp32; students and compressed forms come after them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
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
from build.settings import Precision, Settings, Student
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
        """The queries that compression is judged by."""
        return Panel.of(self.catalogue, self.judgments, self.settings.compression.queries)


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
        head = self.head(tokenizer=words, graph=graph, index=indexed, pieces=pieces, teacher=teacher)
        head_graph = self.head_graph(head)
        feeds = space.stage(
            "feeds",
            partial(
                calibration.write_feeds, tokenizer=words, graph=graph, index=indexed, pieces=pieces, **shop.learnable
            ),
            index=indexed,
            pieces=pieces,
        )
        return Originals(words, pieces, store, trained, graph, indexed, teacher, head, head_graph, feeds)

    def head(
        self,
        *,
        tokenizer: Path,
        graph: Path,
        index: Path,
        pieces: Path,
        teacher: Path,
        learn: bool = True,
        name: str = "ranker",
    ) -> Path:
        """Folder of the ranker's head, fitted to what the encoder's `graph` makes of queries.

        Args:
            tokenizer: folder of `tokenizer.json`.
            graph: folder of the encoder's `model.onnx`.
            index: folder of the index.
            pieces: folder of the products' word pieces.
            teacher: folder of the cross-encoder.
            learn: False chooses among the orders that need no judgments.
            name: of the stage.
        """
        shop = self.shop
        return self.space.stage(
            name,
            partial(
                ranking.train,
                tokenizer=tokenizer,
                graph=graph,
                index=index,
                pieces=pieces,
                cross_encoder=teacher,
                learn=learn,
                settings=shop.settings,
                console=shop.console,
                **shop.known,
            ),
            graph=graph,
            index=index,
            teacher=teacher,
            of=shop.settings.ranker,
            learn=learn,
        )

    def head_graph(self, head: Path) -> Path:
        """Folder of the fp32 graph of the ranker with a head."""
        return self.space.stage("ranker-onnx", partial(export.export_ranker, trained=head), trained=head)

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

    def compressed(
        self,
        made: Originals,
        network: Network,
        graph: Path,
        *,
        beside: Ensembles,
        precision: Precision | None = None,
        context: Mapping[str, Path] = MappingProxyType({}),
    ) -> Path:
        """Folder of a network in every form that is served.

        Args:
            made: the originals.
            network: which one it is.
            graph: folder of its fp32 graph.
            beside: the steps that it is judged among.
            precision: of what the CPU serves, if it is not that of the settings.
            context: folders of what `beside` was made from.
        """
        stage: Stage = "deep" if network == "cross_encoder" else "ranked"
        panel = self.shop.panel.choosing
        chosen = self.shop.settings.compression
        chosen = replace(chosen, precision=precision or chosen.precision)

        def judge(running: Any) -> float:
            return float(panel.judge(with_network(beside, network, running), stage, self.shop.console).ndcg.mean())

        return self.space.stage(
            graph.parent.name.replace("-onnx", "-compressed"),
            partial(
                compress.compress,
                network=network,
                graph=graph,
                feeds=made.feeds,
                chosen=chosen,
                judge=judge,
                console=self.shop.console,
            ),
            network=network,
            graph=graph,
            feeds=made.feeds,
            of=chosen,
            **context,
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
                catalogue=self.shop.catalogue,
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

    def blend(self, made: Originals, reader: Path, encoder: Path, head: Path) -> float:
        """Weight that dev gives a cross-encoder beside the ranker in `search_deep`; 0 where it does not help.

        Args:
            made: the originals.
            reader: folder of the cross-encoder.
            encoder: folder of the `model.onnx` that encodes queries.
            head: folder of the ranker's head.
        """
        queries = self.shop.settings.ranker.blend_queries
        choice = self.space.stage(
            f"{reader.parent.name}-blend",
            partial(
                ranking.write_blend,
                ranker=head,
                cross_encoder=reader,
                pieces=made.pieces,
                queries=queries,
                console=self.shop.console,
                **{**made.retrieval, "graph": encoder},
                **self.shop.known,
            ),
            encoder=encoder,
            ranker=head,
            reader=reader,
            queries=queries,
        )
        return float(np.load(choice / "blend.npy"))

    def blended(self, made: Originals, reader: Path) -> Path:
        """Folder of a cross-encoder's fp32 graph beside the originals, with the least weight where it does not help."""
        weight = self.blend(made, reader, made.encoder_graph, made.ranker)
        return self.reader_graph(reader, weight or ranking.BLENDS[1])

    def reader_graph(self, reader: Path, weight: float) -> Path:
        """Folder of a cross-encoder's fp32 graph that blends its logits so."""
        return self.space.stage(
            f"{reader.parent.name}-onnx",
            partial(export.export_cross_encoder, trained=reader, weight=weight),
            trained=reader,
            weight=weight,
        )

    def ranker_alone(self) -> Path:
        """Folder of what is served in the cross-encoder's place where that does not help, in every form."""
        compression = self.shop.settings.compression
        forms = ["fp32.onnx", *(["fp16.onnx"] * compression.half), *(["int8.onnx"] * (compression.precision == "int8"))]
        return self.space.stage("cross-encoder-left-out", partial(export.export_ranker_alone, forms=forms), forms=forms)
