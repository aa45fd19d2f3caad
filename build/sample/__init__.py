"""The project's own sample: a made-up shop with judged queries, generated from a seed.

It lets anyone try search, training and evaluation at once, without a download or a licence to read. Products are built
from facts, and judgments follow from the facts; the wording is varied enough that comparing words does not solve it.
"""

from build.sample.generate import Sample, make_sample

__all__ = ["Sample", "make_sample"]
