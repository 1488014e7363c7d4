"""What README says in figures: every sentence and table row is made of committed results.

    python benchmarks/claims.py        print them, to be put into README

``tests/docs/test_claims.py`` compares README with them in both directions: each of them stands
there, and no percentage stands there that is in none of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from codes import FOLDER as CODES
from many import FOLDER as MANY
from objective import last, pairs
from reproduce import FOLDER, HOUR, misread_singles, summary_rows
from runs import RESULTS, read_result, read_results
from throughput import Case, reference, speed

SEEDS = (0, 1, 2)


def every(values: list[str]) -> str:
    """Return "a, b and c", or "a" where all are alike."""
    if len(set(values)) == 1:
        return values[0]
    return f"{', '.join(values[:-1])} and {values[-1]}"


def ending(result: dict[str, Any]) -> dict[str, Any]:
    """Return a run's last evaluation on the test split."""
    return [e for e in result["evaluations"] if e["split"] == "test"][-1]  # type: ignore[no-any-return]


def many(case: str) -> list[dict[str, Any]]:
    """Return a case's results of ``benchmarks/many.py``, seed by seed."""
    results = [result for result in read_results(MANY) if result["case"] == case]
    return sorted(results, key=lambda result: int(result["seed"]))


def demo() -> list[str]:
    """`make demo`: the first 500 steps of the runs on digits."""
    results = [read_result(FOLDER / f"digits-{seed}.json") for seed in range(10)]
    at_500 = [next(e for e in r["evaluations"] if e["step"] == 500) for r in results]
    seconds, right = ([e[name] for e in at_500] for name in ("seconds", "count_accuracy"))
    return [
        f"500 steps ({statistics.median(seconds):.0f} s on one core), after which "
        f"{statistics.median(right):.1%} of the test counts are right (median of 10 seeds, worst "
        f"{min(right):.1%})"
    ]


def objective() -> list[str]:
    """The switch of the objective alone."""
    sentences = []
    for sizes in ("tutorial", "fast"):
        exact, other = zip(*pairs(sizes), strict=True)
        ends = [every([f"{ending(r)['count_accuracy']:.1%}" for r in rs]) for rs in (exact, other)]
        seconds = [statistics.median(last(r)["seconds"] for r in rs) for rs in (exact, other)]
        sentences.append(
            f"exact counts {ends[0]} of the test scenes right after {seconds[0]:.0f} s, "
            f"TraceGraph with baselines {ends[1]} after {seconds[1]:.0f} s"
        )
    return sentences


def reproduced() -> list[str]:
    """The default preset, every seed."""
    return summary_rows(read_results(FOLDER))


def hour() -> list[str]:
    """The longer run."""
    end = ending(read_result(HOUR / "multi-mnist-0.json"))
    single = end["confusion"][1]
    wrong = round(misread_singles(end["confusion"]) * sum(single))
    return [
        f"{end['step']:,} steps with larger networks ({end['seconds'] / 60:.0f} minutes on one "
        f"core), {end['count_accuracy']:.2%} of the multi-MNIST counts are right: of "
        f"{sum(single):,} single digits, {wrong} are misread",
    ]


def throughput() -> list[str]:
    """Speed beside the reference, at equal sizes and in all."""
    cases = read_result(RESULTS / "throughput.json")["cases"]
    exact, fast = speed(cases, Case("exact", 64).name), speed(cases, Case("fast", 256).name)
    user, tuned = (speed(cases, reference(64, t)) for t in (False, True))
    infer = speed(cases, Case("fast", 256, infers=True).name)
    latency = read_result(RESULTS / "latency.json")["seconds"]
    start = latency["air infer, one picture, sizes of fast"]["median"]
    return [
        f"{exact / user:.1f} times as many images a second as a step written as in Pyro's tutorial "
        f"({exact / tuned:.1f} times, where the process of that one is set up as ours)",
        f"{fast / user:.0f} times with the preset's own batch and smaller networks",
        f"inference reads {round(infer, -3):,.0f} images a second",
        f"`air infer` answers {start:.1f} s after its start",
    ]


def objects() -> list[str]:
    """Many objects."""

    def right(case: str) -> str:
        return every([f"{ending(r)['count_accuracy']:.1%}" for r in many(case)])

    def measured(case: str, name: str, figure: str, form: str) -> str:
        return every([format(r["measures"][name][figure], form) for r in many(case)])

    nine = [ending(r) for r in many("nine")]
    return [
        f"of scenes of 0 to 5 digits on 75 x 75 pixels, {right('five')} are counted right",
        f"with a mean error of {measured('five', '6-8', 'count_error', '.2f')} digits",
        f"{right('five-seen')}, and {measured('five-seen', '6-8', 'count_error', '.2f')} digits",
        f"of 0 to 9 digits on 100 x 100 pixels, {right('nine')}, with a mean error of "
        + every([f"{end['count_error']:.2f}" for end in nine]),
        f"{measured('two', '3', 'count_accuracy', '.1%')} of the scenes of three right",
    ]


def codes() -> list[str]:
    """What a linear probe reads."""

    def accuracies(features: str) -> str:
        results = [read_result(CODES / f"multi-mnist-{seed}.json") for seed in SEEDS]
        found = [r["measures"]["codes"]["features"][features]["accuracy"] for r in results]
        return f"{min(found):.1%} to {max(found):.1%}"

    return [
        f"a linear probe reads {accuracies('z_what')} of the multi-MNIST test digits",
        f"{accuracies('pixels')} from the 256 pixels of the same windows",
    ]


def tutorial() -> list[str]:
    """The tutorial's command, shortened."""
    end = ending(read_result(RESULTS / "compare" / "tutorial.json"))
    return [
        f"for {end['step']:,} of those steps, one core, it reaches {end['count_accuracy']:.1%} of "
        f"test counts and a test ELBO of {end['elbo']:.1f} in {end['seconds'] / 60:.0f} minutes",
    ]


CLAIMS: tuple[Callable[[], list[str]], ...] = (
    *(demo, objective, reproduced, hour, throughput, objects, codes, tutorial),
)

if __name__ == "__main__":
    for make in CLAIMS:
        print(f"{make.__doc__}\n")
        print("\n".join(make()) + "\n")
