"""Two levels of chance, where jobs are trained with several seeds: which texts were tested, and which seeds were drawn.

A score over seeds is the mean of the seeds' scores. Each of its resamples is the same resample of the texts for every
seed (level one) plus a draw of what other seeds would have done to the mean (level two). The second is a scaled
Student's t with one degree of freedom less than there are seeds, for so few tell their spread badly:

    sample_r = mean_s score_sr + t_r * sqrt(max(0, between - within) / seeds)

`between` is the variance of the seeds' scores on the whole test set. A part of it, `within`, is there even where all
seeds are worth the same, since they err on different texts; the first level has that part already, and its size is
read off the resamples (how far a seed strays from the mean of the seeds, from resample to resample). Method of moments
of a random-effects model (Searle, Casella and McCulloch 1992, section 3.5), with the t of a mean of few draws. How
often such intervals hold the truth is simulated in benchmarks/simulated_tests.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from taskmix.evaluation.intervals import Resampled
from taskmix.evaluation.metrics import Array


def over_seeds(seeds: Sequence[Resampled], *, stream: Sequence[int | str]) -> Resampled:
    """The mean of one score over training seeds, its resamples holding both levels of chance.

    Args:
        seeds: the score at each seed, over the same resamples of the same texts. One alone is returned as it is.
        stream: names the draws of the second level: the same for the same jobs, so that a job which two systems share
            is drawn once; systems of different jobs are drawn independently.
    """
    if len(seeds) == 1:
        return seeds[0]
    values = [score.value for score in seeds]
    defined = [value for value in values if value is not None]
    mean = np.mean([score.samples for score in seeds], axis=0)
    if len(defined) < len(values):
        return Resampled(None, mean, {}, seeds=len(seeds))
    spread = np.sqrt(seed_variance(seeds) / len(seeds))
    generator = np.random.default_rng([zlib.crc32(str(part).encode()) for part in stream])
    drawn = generator.standard_t(len(seeds) - 1, size=mean.shape)
    return Resampled(sum(defined) / len(defined), mean + spread * drawn, {}, seeds=len(seeds))


def seed_variance(seeds: Sequence[Resampled]) -> float:
    """How much the score varies between seeds beyond what they would on another draw of texts; 0 at least.

    Args:
        seeds: two at least, all values defined.
    """
    between = float(np.var(np.array([score.value for score in seeds], dtype=np.float64), ddof=1))
    samples_SR: Array = np.stack([score.samples for score in seeds])
    strays_SR = samples_SR - samples_SR.mean(axis=0)
    within = float(np.nanvar(strays_SR, axis=1).mean()) * len(seeds) / (len(seeds) - 1)
    return max(0.0, between - within)
