"""The blend of search_deep."""

import torch
from torch import nn

from build.training.models import Blend
from build.training.ranker import _blended
from shelfbridge.contract import CANDIDATES, SHORTLIST


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
