"""``AIRCounter``: AIR as a scikit-learn estimator, which learns to count without labels."""

from __future__ import annotations

import copy
import math
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from .air import AIR
from .config import DatasetConfig, TrainConfig, differences, for_images, get_preset, replace
from .data.pictures.survey.features import find_value_range, image_shape, rescaled, square_shape
from .errors import ConfigError, DataError, ShapeError
from .scenes import Scenes
from .trainer import train
from .training.auto import choose_settings
from .training.devices import find_device

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, X: Any, **options: Any) -> Any:
        """Check X as scikit-learn 1.6 does."""
        return estimator._validate_data(X, **options)


class AIRCounter(TransformerMixin, BaseEstimator):
    """Count and describe the objects in images, without labels.

    ``fit`` trains an AIR as ``air train`` does: the same settings and training images give the same
    model. It trains on all of X: nothing is held out, since nothing is chosen by it.

    X is (N, height, width), (N, channels, height, width) or, flattened, (N, features); bool, uint8,
    uint16, or floats in [0, 1]. The background is dark. Pixels are kept with 8 bits.

    Args:
        image_shape: (height, width) or (channels, height, width) of flattened images; one side
            may be -1 for what is left. None takes squares.
        value_range: which values are black and white: "dtype" for those of the type, 0 and 255 of
            uint8, 0 and 65535 of uint16, 0 and 1 of floats, and no others; "data" for the least and
            the greatest value in ``fit``; or (low, high). What lies beyond the last two is cut off.
        model_steps: T, the most objects that can be counted.
        num_steps: optimization steps.
        batch_size: images in a mini-batch.
        learning_rate: Adam's.
        random_state: the seed; a RandomState draws one, and None takes that of the settings, so
            that every ``fit`` gives the same model.
        preset: "fast", "tutorial", "many" or "auto", the settings to start from. Any of the five
            above that is None is taken from there.
        config: settings to start from instead of a preset's. What they say of data is left aside,
            and windows larger than the images are reduced to their size.
        device: "cpu", "cuda", ..., or "auto" for a GPU where there is one.
        verbose: show progress.

    Attributes:
        model_: the trained AIR; ``model_.infer`` also locates the objects and draws them again.
        config_: the settings it was trained with, a TrainConfig.
        classes_: (T + 1,), the counts 0..T: the columns of ``predict_proba``.
        image_shape_: (channels, height, width).
        value_range_: (low, high), or None where it follows from the type.
        n_features_in_: pixels times channels.
        feature_names_in_: the names of X's columns, where it has any.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> from attend_infer_repeat import AIRCounter
        >>> images = load_digits().images[:100] / 16
        >>> counter = AIRCounter(num_steps=5).fit(images)
        >>> counter.predict(images).shape
        (100,)
        >>> counter.predict_proba(images).shape
        (100, 4)
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, ...] | None = None,
        value_range: str | tuple[float, float] = "dtype",
        model_steps: int | None = None,
        num_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        preset: str = "fast",
        config: TrainConfig | None = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.image_shape = image_shape
        self.value_range = value_range
        self.model_steps = model_steps
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.preset = preset
        self.config = config
        self.device = device
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None) -> AIRCounter:
        """Train a model; takes at least two images.

        Args:
            X: images, see the class.
            y: not used.
        Raises: ShapeError if the images or ``image_shape`` do not fit; ConfigError if a setting is
            out of range; TrainingError if the ELBO stops being a finite number; ValueError for
            what scikit-learn refuses in X.
        """
        images = self._images(X, reset=True)
        self.config_ = self._settings()
        with TemporaryDirectory(prefix="air-") as folder:
            data = Path(folder) / "images.npz"
            np.savez(data, images=images)
            config = self._chosen(replace(self.config_, data=str(data)))
            run = train(
                config,
                Path(folder) / "run",
                device=self.device,
                quiet=not self.verbose,
                figures=False,
                validate=False,
            )
            self.model_ = AIR.load(run)
        self.config_ = replace(config, data="X")
        self.classes_ = np.arange(self.config_.model.count.max_steps + 1)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable counts, (N,) int64.

        Raises: NotFittedError before ``fit``; ShapeError or ValueError if the images do not fit.
        """
        counts: NDArray[np.int64] = self._infer(X).counts
        return counts

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return q(n | x), (N, T + 1) float32, for the counts n in ``classes_``; rows sum to 1.

        It is a plug-in, along the means of poses and codes: see ``AIR.infer``.

        Raises: as ``predict``.
        """
        count_probs: NDArray[np.float32] = self._infer(X).count_probs
        return count_probs

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Describe the images by what each step found in them.

        The columns, named by ``get_feature_names_out``, are for every step t in turn:
        ``z_pres_t``, the probability q(n > t | x) that it found an object (t counts from 0); its
        pose ``z_where_t_s``, ``_x``, ``_y``, inverse scale and position; and its appearance,
        ``z_what_t_0``, .... Pose and appearance are 0 where ``predict`` counts no such object,
        and else in their own units, not weighted by the probability, which has its own column.

        Returns: (N, T (1 + 3 + what_dim)) float32.
        Raises: as ``predict``.
        """
        scenes = self._infer(X)
        z_pres = scenes.scores
        latents = np.concatenate((scenes.z_where, scenes.z_what), axis=2)
        latents = np.where(scenes.z_pres[..., None], latents, 0)
        steps = np.concatenate((z_pres[..., None], latents), axis=2)
        return steps.reshape(len(steps), -1).astype(np.float32)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Return the names of ``transform``'s columns; those of the pixels are only checked."""
        check_is_fitted(self, "model_")
        _check_feature_names_in(self, input_features)
        model = self.config_.model
        latents = ["z_where_{}_s", "z_where_{}_x", "z_where_{}_y"]
        latents += [f"z_what_{{}}_{k}" for k in range(model.appearance.encoder_latent_size)]
        names = [n.format(t) for t in range(model.count.max_steps) for n in ("z_pres_{}", *latents)]
        return np.array(names, dtype=object)

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the share of images whose count is right.

        Args:
            X: images, see the class.
            y: (N,), their true counts.
            sample_weight: (N,), how much each image counts.
        Raises: DataError without ``y``; else as ``predict``.
        """
        if y is None:
            raise DataError("score: expected the true counts y, got None; only fit needs none.")
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def _infer(self, X: ArrayLike) -> Scenes:
        check_is_fitted(self, "model_")
        images = torch.from_numpy(self._images(X, reset=False))
        scenes: Scenes = self.model_.to(find_device(self.device)).infer(images)
        return scenes.padded(self.config_.model.count.max_steps).numpy()

    def _images(self, X: ArrayLike, *, reset: bool) -> NDArray[np.uint8]:
        """Return (N, channels, height, width); with ``reset``, learn the shape and the range."""
        rows: Any = X if hasattr(X, "shape") else np.asarray(X)
        given = tuple(rows.shape[1:]) if len(rows.shape) > 2 else None
        if given is not None:
            rows = rows.reshape(len(rows), math.prod(given))
        pixels = validate_data(self, rows, reset=reset, ensure_min_samples=2 if reset else 1)
        num_features = self.n_features_in_
        if reset:
            shape = given if self.image_shape is None else self.image_shape
            self.image_shape_ = image_shape(shape or square_shape(num_features), num_features)
            self.value_range_ = find_value_range(self.value_range, pixels)
        if given is not None and image_shape(given, num_features) != self.image_shape_:
            raise ShapeError(f"X: expected images of {self.image_shape_}, got {given}.")
        return rescaled(pixels.reshape(-1, *self.image_shape_), self.value_range_)

    def _settings(self) -> TrainConfig:
        """Return what to train with, as the arguments and the images decide."""
        start = get_preset(self.preset) if self.config is None else self.config
        if not isinstance(start, TrainConfig):
            raise ConfigError(f"config: expected a TrainConfig, got {type(start).__name__}.")
        channels, *canvas = self.image_shape_
        given = _given(
            model_steps=self.model_steps,
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=_seed(self.random_state),
        )
        return replace(
            for_images(start, (canvas[0], canvas[1]), channels),
            dataset=DatasetConfig(data="X"),
            eval_split="validation",
            subtract="border",
            invert="no",  # predict does not, either
            window_size=min(start.model.appearance.window_size, *canvas),
            **given,
        )

    def _chosen(self, config: TrainConfig) -> TrainConfig:
        """Choose what the preset auto leaves open, but not how images come onto a canvas."""
        if config.preset != "auto" or config.chosen:
            return config
        own = {change.split(":")[0] for change in differences(get_preset("auto"), config)}
        if self.model_steps is not None:
            own.add("model_steps")
        return choose_settings(config, given=own | {"canvas", "resize", "zoom"})

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "model_" in state:  # a GPU's tensors could not be unpickled where there is none
            state = state | {"model_": copy.deepcopy(state["model_"]).cpu()}
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # float32 whatever the images are
        return tags

    def _more_tags(self) -> dict[str, Any]:  # before scikit-learn 1.6
        return {"preserves_dtype": []}


def _given(**settings: Any) -> dict[str, Any]:
    """Return those that are not None; NumPy's scalars, as from a grid, as Python's."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in settings.items()
        if value is not None
    }


def _seed(random_state: int | np.random.RandomState | None) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
