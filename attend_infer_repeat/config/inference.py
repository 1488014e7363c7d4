"""Settings of the guide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..errors import ConfigError
from .base import Idle, Settings
from .constraints import Layers, Positive, PositiveInt, Probability


class InferenceConfig(Settings):
    """The guide, which infers an image's objects one by one."""

    guide: Literal["pursuit", "memoryless", "improved", "basic"] = "pursuit"
    """Read z_what from the LSTM's state (basic) or from the attention window (improved). Before
    they decide on z_pres and z_where, the others take a glimpse of the image and of the residual
    where that has most energy: pursuit with an LSTM, and memoryless without one, so that it does
    not learn how many objects to expect."""
    focus: Positive = 2.0
    """Window width / width of the triangular kernel with which pursuit and memoryless search: a
    narrow kernel finds one of two close objects where a wide one finds their middle."""
    inhibition: Probability = 0.0
    """How much less a place counts in that search once it was looked at: the guide goes on
    elsewhere, even if it drew nothing there. 0 looks at the same place again."""
    foresight: bool = False
    """Decide on z_pres by the log-likelihood gain of one more object, less its KL, instead of by a
    network, which takes objects that touch for one. The guide must look at the residual, and the
    prior should make objects costly: --z-pres-prior 1e-8. No gradient passes through the gain, so
    that the ELBO's is biased."""
    presence_bound: Positive | None = None
    """Bound of the log-odds of one more object, such as 8: a guide that has become certain that
    there is none, before the decoder renders anything, comes back. No bound if not given."""
    refinement: bool = False
    """After the rollout, read objects again given all the others, add what still pays, join halves,
    and take back what the others explain, where objects add up and the guide is memoryless; in
    inference alone."""
    rnn_hidden_size: PositiveInt = 64
    """Numbers in the state of the guide's LSTM (and of the baseline's)."""
    embed_net: Layers | None = None
    """Layers between the image and the LSTM; none feeds it the raw pixels."""
    predict_net: Layers = (200,)
    """Hidden layers from the glimpse and the LSTM's state to z_pres and z_where."""
    encoder_net: Layers = (200,)
    """Hidden layers of the encoder (window to z_what)."""

    @property
    def sees_residual(self) -> bool:
        """Whether the guide looks at the residual before it decides."""
        return self.guide in ("pursuit", "memoryless")

    def __post_init__(self) -> None:
        """Check that foresight has something to look at."""
        if self.foresight and not self.sees_residual:
            raise ConfigError(
                f"foresight: the guide '{self.guide}' does not look at the residual; leave "
                "--foresight out, or use --guide pursuit or memoryless."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what such a guide does not have."""
        if not self.sees_residual:
            instead = "leave it out, or use --guide pursuit or memoryless"
            for name in ("focus", "inhibition"):
                yield Idle(name, f"with --guide {self.guide}; {instead}")
        if self.foresight:
            yield Idle("presence_bound", "with --foresight; leave it out")
        if self.guide != "memoryless":
            instead = "leave it out, or use --guide memoryless"
            yield Idle("refinement", f"with --guide {self.guide}; {instead}")
