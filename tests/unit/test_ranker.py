"""The loss of the ranker's head, and the blend of search_deep."""

import pytest
import torch
from torch import nn

from build.models import Blend
from build.ranker import _blended, pairs
from shelfbridge.contract import CANDIDATES, SHORTLIST


def test_each_query_weighs_the_same_and_unjudged_products_less():
    worth = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.01]])
    trust = torch.tensor([[1.0, 1.0, 0.3], [1.0, 1.0, 1.0]])
    found = pairs(worth, trust)
    for query in range(2):
        assert found.weight[found.query == query].sum() == pytest.approx(1 / 2)
    judged, unjudged = found.weight[found.query == 0].tolist()
    assert unjudged == pytest.approx(0.3 * judged)
    assert (1, 1, 2) in zip(found.query.tolist(), found.better.tolist(), found.worse.tolist(), strict=True)


def test_candidates_of_unknown_worth_make_no_pairs():
    found = pairs(torch.tensor([[1.0, torch.nan, 0.0]]), torch.ones(1, 3))
    assert (found.better.tolist(), found.worse.tolist()) == ([0], [2])


def test_the_loss_falls_as_the_better_one_rises():
    found = pairs(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    right, level, wrong = (found.loss(torch.tensor([scores])) for scores in ([2.0, 0.0], [0.0, 0.0], [0.0, 2.0]))
    assert right < level < wrong


class Reader(nn.Module):
    """In place of the cross-encoder: the first word piece is the logit."""

    def forward(self, input_ids, attention_mask, token_type_ids):
        return input_ids[:, 0].to(torch.float32)


def test_the_blend_chosen_on_dev_is_the_blend_that_is_served():
    torch.manual_seed(3)
    scores = torch.randn(2, CANDIDATES)
    order = scores.argsort(dim=1, descending=True)
    pieces = torch.randint(-5, 5, (2, SHORTLIST, 3))
    logits = torch.full_like(scores, torch.nan).scatter(1, order[:, :SHORTLIST], pieces[:, :, 0].to(torch.float32))
    chosen = _blended(scores, logits, order, 0.4)
    served = Blend(Reader(), 0.4)(pieces, torch.zeros_like(pieces), torch.ones_like(pieces), scores.gather(1, order))
    torch.testing.assert_close(chosen.gather(1, order), served)
    assert (served[:, :SHORTLIST].amin(1) > served[:, SHORTLIST:].amax(1)).all()
