"""The settings whose steps the benchmarks time."""

from __future__ import annotations

from dataclasses import replace

from attend_infer_repeat.config import FAST, TUTORIAL

# The tutorial's published command, as far as it sets sizes.
SIZES = replace(
    TUTORIAL.model,
    predict_net=(200,),
    decoder_output_use_sigmoid=True,
    decoder_output_bias=-2.0,
    scale_prior_sd=0.2,
    z_pres_prior=0.01,
)
PLAIN = {"explore": 0.0, "composite_weight": 0.0, "ema_decay": 0.0, "learning_rate": 1e-4}
CONFIGS = {
    "tutorial": replace(TUTORIAL, model=SIZES, bl_predict_net=(200,)),
    "exact": replace(FAST, batch_size=64, model=SIZES, **PLAIN),
    "fast": FAST,
    "fast, unbounded": replace(FAST, model=replace(FAST.model, unbounded=True)),
}
SETTLED = 1_000  # a step of the preset's second half: no exploration, copy-paste composites
LEARNED = 300  # steps after which the preset is sure of single objects, as it is most of the time
