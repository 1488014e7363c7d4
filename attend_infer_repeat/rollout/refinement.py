"""A scene is made better after its rollout: objects are read again, added, and taken back.

A guide reads an object while others lie in its window, decides on it before it is drawn, and never
comes back to it. Once all are known, their scene climbs, move by move, on what the ELBO is if the
guide is sure of their number,

    L = log p(x | z) - sum_t KL_t + log p(n),    KL_t of pose and code.

The guide proposes the moves, from what the others leave of x, which shows the object alone:

    read again   object t, at its pose, and at the one that the guide decides on from there
    add          one more object, where the look proposes it: the rollout's next step, after all
    join         one object for object t and its neighbor, if it explains as much as they do
    take back    an object that the others explain: ``elimination``

None is made that does not raise L. q(n) is what it would be had the guide never taken the steps
that are taken back, and been certain, once it is there, of those that are added: so the number of
objects that are found stays the most probable one.

Source: coordinate ascent, as in variational inference; Kim et al. 2018, Semi-amortized variational
autoencoders, for an amortized guess that is improved for each image.
"""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributions import count_log_prob, gaussian, gaussian_kl
from ..guide import SceneGuide
from ..model import Canvas
from .elimination import those_that_pay
from .rollout import Rollout

SWEEPS = 2
"""How often objects are read again, at most: of those scenes that the time before has changed."""

MOST_ADDED = 2
"""Objects that are added to a scene, at most."""

RISE, RISE_OF_NEW = 0.1, 5.0
"""Nats by which L has to rise, else rounding would decide; and with an object that is added, else
the accuracy of a gain at means would."""


class Refined(NamedTuple):
    """Scenes of a batch of images."""

    counts: Tensor  # (batch,)
    count_probs: Tensor  # (batch, T + 1)
    z_where: Tensor  # (batch, T, 3), of the first ``counts``; means
    z_what: Tensor  # (batch, T, what_dim)
    residual: Tensor  # (batch, channels, height, width), what they leave of the images


@torch.no_grad()
def refine(guide: SceneGuide, images: Tensor, rollout: Rollout, counts: Tensor) -> Refined | None:
    """Refine scenes; None if that is not to be done.

    It is done if the config says so, objects add up, the likelihood is one of the energy, and the
    guide looks at the residual, remembers nothing and reads windows.

    Args:
        guide: q(z | x).
        images: (batch, channels, height, width), intensity.
        rollout: the guide's, over them, of means.
        counts: (batch,), the most probable number of objects along it.
    """
    model = guide.model
    reads_alone = guide.sees_residual and guide.reading.sees_window and not guide.memory.state_size
    if not (model.config.inference.refinement and model.is_of_energy and reads_alone):
        return None
    scenes = _Scenes(guide, images, rollout, counts)
    rows = every = torch.arange(len(images), device=images.device)
    for _ in range(SWEEPS):
        rows = scenes.read_again(rows)
    rows = every
    for _ in range(MOST_ADDED):
        rows = scenes.add(rows)
        scenes.read_again(rows)
    scenes.join()
    return scenes.take_back()


class _Scenes:
    """Scenes that are being refined."""

    def __init__(self, guide: SceneGuide, images: Tensor, rollout: Rollout, counts: Tensor) -> None:
        self.guide, self.model = guide, guide.model
        self.image = guide.begin(images, rollout.z_background).image
        self.residual = rollout.residual(counts).clone()
        self.counts = counts
        # Log-odds of one more object, (batch, T): none where the image left the rollout before.
        left_rollout = rollout.weights[:, 1:] == 0
        logits = rollout.z_pres_logits[:, : rollout.num_steps]
        self.logits = logits.masked_fill(left_rollout, -torch.inf)
        # Means and standard deviations of poses, in coordinates, and of codes:
        # (batch, T, 2, 3 + what_dim).
        self.laws = _joined(_moments(rollout.z_where_dist), _moments(rollout.z_what_dist))
        prior = _joined(_moments(self.model.z_where_dist()), _moments(self.model.z_what_dist()))
        self.prior = gaussian(*prior)

    def read_again(self, rows: Tensor) -> Tensor:
        """Read the objects of some images again, in turn; return which images that changed."""
        before = self.laws
        self.laws = before.clone()
        for t in range(int(self.counts[rows].amax()) if len(rows) else 0):
            these = rows[self.counts[rows] > t]
            law = self.laws[these, t]
            others = self.residual[these] + self._draw(law)
            left, image, z_where = Canvas(others), self.image.select(these), self._pose(law)
            there = self._decide(left, z_where, self.guide.look.glimpse(z_where, left, image))
            law = self._best(left, law, self._read(left, law[..., :3]), there)
            self.laws[these, t], self.residual[these] = law, others - self._draw(law)
        return rows[(self.laws[rows] != before[rows]).flatten(1).any(dim=1)]

    def add(self, rows: Tensor) -> Tensor:
        """Add an object to each of some images if that pays; return to which it was added."""
        rows = rows[self.counts[rows] < self.model.count_prior.max_count]
        if not len(rows):
            return rows
        left, look = Canvas(self.residual[rows]), self.guide.look
        law = self._decide(left, *look(left, self.image.select(rows), look.scores(left.x)))
        pays = self._worth(left, law) > RISE_OF_NEW
        rows, law = rows[pays], law[pays]
        if not len(rows):
            return rows
        now = self.counts[rows]
        self._make_room(int(now.amax()) + 1)
        self.laws[rows, now] = law
        self.residual[rows] -= self._draw(law)
        # It is step n + 1 of the rollout; what that would do next is not known.
        later = torch.arange(self.logits.shape[1], device=now.device) > now[:, None]
        self.logits[rows] = self.logits[rows].masked_fill(later, -torch.inf)
        self.logits[rows, now] = torch.inf
        self.counts = self.counts.index_add(0, rows, torch.ones_like(rows))
        return rows

    def join(self) -> None:
        """Take one object for two neighbors, such as halves of it, if it explains as much.

        L alone would take two that touch for one: as soon as what one of them explains less than
        two is less than an object costs.
        """
        for t in reversed(range(int(self.counts.amax()))):
            rows = ((self.counts > t) & (self.counts > 1)).nonzero()[:, 0]
            if not len(rows):
                continue
            own, s = self.laws[rows, t], self._neighbors(rows, t)
            other = self.laws[rows, s]
            without_own = self.residual[rows] + self._draw(own)
            left, look = Canvas(without_own + self._draw(other)), self.guide.look
            two = self._gain(left, other) + self._gain(Canvas(without_own), own)
            cost = self._cost(other) + self._cost(own)
            image = self.image.select(rows)
            one = self._decide(left, *look(left, image, look.scores(left.x)))
            z_where = self._pose(one)
            one = self._best(
                left, one, self._decide(left, z_where, look.glimpse(z_where, left, image))
            )
            more = self._gain(left, one) - two
            pays = (more >= 0) & (more + cost - self._cost(one) > RISE)
            rows, s, one = rows[pays], s[pays], one[pays]
            self.laws[rows, s], self.residual[rows] = one, left.x[pays] - self._draw(one)
            self._forget(rows, t)

    def take_back(self) -> Refined:
        """Take back what the others explain; return what is left."""
        back = torch.zeros_like(self.logits, dtype=torch.bool)
        costs = self._cost(self.laws)
        for row, num in enumerate(self.counts.tolist()):
            if num:
                drawn, residual = self._draw(self.laws[row, :num]), self.residual[row]
                pays = those_that_pay(
                    self.model, drawn.flatten(1), residual.flatten(), costs[row, :num]
                )
                back[row, :num] = ~pays
                self.residual[row] = residual + drawn[~pays].sum(dim=0)
        order = back.to(torch.uint8).argsort(dim=1, stable=True)
        logits = self.logits.masked_fill(back, -torch.inf).gather(1, order)
        laws = self.laws.gather(1, order[..., None, None].expand_as(self.laws))
        counts = self.counts - back.sum(dim=1)
        probs = count_log_prob(logits).exp()
        return Refined(counts, probs, self._pose(laws), laws[..., 0, 3:], self.residual)

    def _neighbors(self, rows: Tensor, t: int) -> Tensor:
        """Return which object of each image is the nearest to object t, (num,)."""
        z_where = self._pose(self.laws[rows])
        centers = z_where[..., 1:] / z_where[..., :1]
        distance = (centers - centers[:, t : t + 1]).square().sum(dim=-1)
        others = torch.arange(distance.shape[1], device=rows.device)
        absent = (others >= self.counts[rows, None]) | (others == t)
        return distance.masked_fill(absent, torch.inf).argmin(dim=1)

    def _forget(self, rows: Tensor, t: int) -> None:
        """Let object t of some images be one that there never was."""
        later = torch.arange(self.laws.shape[1], device=rows.device)
        order = torch.cat((later[:t], later[t + 1 :], later[t : t + 1]))
        self.laws[rows] = self.laws[rows][:, order]
        logits = self.logits[rows]
        logits[:, t] = -torch.inf
        self.logits[rows] = logits[:, order]
        self.counts = self.counts.index_add(0, rows, -torch.ones_like(rows))

    def _decide(self, left: Canvas, proposal: Tensor, glimpse: Tensor) -> Tensor:
        """Return the laws of an object that is sought in what is left, (num, 2, 3 + what_dim)."""
        _, z_where_dist = self.guide.decide(proposal, glimpse, _nothing(glimpse))
        return self._read(left, _moments(z_where_dist))

    def _read(self, left: Canvas, where: Tensor) -> Tensor:
        """Return the laws of an object whose pose has the moments ``where``, (num, 2, 3)."""
        nothing = _nothing(where)
        what = self.guide.reading(left, self._pose(where), (nothing, nothing))
        return _joined(where, _moments(what))

    def _best(self, left: Canvas, law: Tensor, *others: Tensor) -> Tensor:
        """Return the law that is worth most, or the first if none is worth more."""
        worth = self._worth(left, law)
        for other in others:
            of_other = self._worth(left, other)
            rises = of_other > worth + RISE
            law = torch.where(rises[:, None, None], other, law)
            worth = torch.where(rises, of_other, worth)
        return law

    def _worth(self, left: Canvas, law: Tensor) -> Tensor:
        """Return by how much L rises with an object, (num,), over what is left without it."""
        return self._gain(left, law) - self._cost(law)

    def _gain(self, left: Canvas, law: Tensor) -> Tensor:
        """Return by how much log p(x | z) rises with an object, (num,)."""
        return self.model.gain(left, self._pose(law), law[:, 0, 3:])

    def _cost(self, laws: Tensor) -> Tensor:
        """Return what objects cost, nats, of laws (..., 2, 3 + what_dim)."""
        kl = gaussian_kl(gaussian(laws[..., 0, :], laws[..., 1, :]), self.prior).sum(dim=-1)
        return kl - self.model.count_prior.law.log_ratio().to(kl)

    def _draw(self, laws: Tensor) -> Tensor:
        return self.model.draw(self._pose(laws), laws[:, 0, 3:])

    def _pose(self, laws: Tensor) -> Tensor:
        """Return the pose at the means of laws (..., 2, 3 or more): (..., 3)."""
        return self.model.poses.pose(laws[..., 0, :3])

    def _make_room(self, steps: int) -> None:
        """Pad to ``steps`` objects."""
        missing = steps - self.laws.shape[1]
        if missing > 0:
            more = torch.ones_like(self.laws[:, :1]).expand(-1, missing, -1, -1)
            self.laws = torch.cat((self.laws, more), dim=1)
            self.logits = F.pad(self.logits, (0, missing), value=-torch.inf)


def _moments(law: dist.Normal) -> Tensor:
    """Return mean and standard deviation, (..., 2, size), of a law of batch shape (..., size)."""
    return torch.stack((law.loc, law.scale), dim=-2)


def _joined(where: Tensor, what: Tensor) -> Tensor:
    return torch.cat((where, what), dim=-1)


def _nothing(like: Tensor) -> Tensor:
    """Return the state of a guide without a memory, (num, 0)."""
    return like.new_zeros(len(like), 0)
