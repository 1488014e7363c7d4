"""Data-dependent baselines for the discrete choices z_pres (Mnih and Gregor 2014)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..config import TrainConfig
from ..nn import MLP, Embedding, ImageLSTM
from .state import GuideState


class Baseline(nn.Module):
    """b_t(x, z_{<t}), trained to predict what is still to come of the ELBO at step t.

    Subtracting it from the learning signal of z_pres_t leaves the gradient's mean as it is and
    lowers its variance. Its inputs are detached: its own loss must not move the guide.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        model = config.model
        num_pixels = model.channels * model.canvas_size[0] * model.canvas_size[1]
        self.masking = model.masking
        # The ELBO is in the hundreds of nats; a network starts with outputs near 0.
        self.scalar = config.estimator.baseline_scalar or 1.0
        self.embed = Embedding(num_pixels, model.inference.embed_net, model.non_linearity)
        self.rnn = ImageLSTM(
            self.embed.out_size,
            3 + model.appearance.encoder_latent_size + 1,
            model.inference.rnn_hidden_size,
        )
        sizes = [model.inference.rnn_hidden_size, *config.estimator.bl_predict_net, 1]
        self.predict = MLP(sizes, model.non_linearity)

    def begin(self, images: Tensor) -> Callable[[GuideState], Tensor]:
        """Look at the images; return the function from a guide state to the next b_t (batch,)."""
        gates = self.rnn.look(self.embed(images.flatten(1)))
        memory = self.rnn.start()

        def predict_return(previous: GuideState) -> Tensor:
            nonlocal memory
            memory = self.rnn(gates, previous.step_input().detach(), memory)
            value = self.scalar * self.predict(memory[0])[:, 0]
            # Nothing is to come once a scene is complete.
            return value * previous.z_pres.detach() if self.masking else value

        return predict_return
