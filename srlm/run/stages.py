"""The stages of a run: what is done once each, in which order, from which settings and inputs to which files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from srlm.settings import PairSettings

BASELINE = "baseline"  # the folder and the stages that build EFT from what people ranked

Opponents = Callable[[int], list[int]]


def opponents(t: int, pairwise: bool) -> list[int]:
    """Whom M_t meets head to head: the model before it and M1; where answers are scored alone, all from M1 on."""
    first = [1] if pairwise else range(1, t)  # the others' scores are there already
    return sorted({t - 1, *(k for k in first if k < t)})


@dataclass(frozen=True)
class Stage:
    """One unit of work: its name, the settings it reads, its inputs (stages, seed files, templates), its files."""

    name: str
    settings: tuple[str, ...]  # config tables, or single keys of one
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # relative to the run folder

    @property
    def t(self) -> int:
        """The number of the model it belongs to; 0 for the baseline, which comes before M1."""
        return model_number(self.name)

    @property
    def part(self) -> Any:
        """What it does: train, eval, aift or pairs; judge or eft for the baseline."""
        return self.name.split("/")[1]

    @property
    def parts(self) -> tuple[str, ...]:
        """What models write in it (see `generate.parts.PARTS`), in order."""
        if self.part in ("eval", "aift", "judge", "previous"):
            return (self.part,)
        return ("past", "judge_past") if self.part == "past" else ()

    @property
    def kind(self) -> str:
        """What stages that take about the same time have in common: sft, dpo, or the part."""
        return self.settings[-1] if self.part == "train" else str(self.part)


MEASURED = ("eval.grader", "eval.candidates", "eval.canaries")  # of [eval], what a model's own evaluation reads
JUDGED = ("run", "model", "engine", "judge")  # the settings that decide what a judgement is


def model_number(name: str) -> int:
    """The t of a stage's name "M{t}/..."; 0 for the baseline's."""
    model = name.partition("/")[0]
    return 0 if model == BASELINE else int(model[1:])


def stages_of(
    n: int, eft: str = "seed/eft", pairs: PairSettings | None = None, opponents: Opponents | None = None
) -> list[Stage]:
    """All stages that bring a run to M_n, in the order they are run; some only options of `pairs` call for.

    `eft` is what M1 learns judging from; `opponents` says whom M_t meets head to head, where that is on.
    """
    sampled = ("rollout.temperature", "rollout.top_p", "rollout.max_tokens")
    result = []
    for t in range(n + 1):
        made = (f"M{t}/train",) if t else ()
        if t == 1:
            result.append(_train("M1", "sft", ("seed/ift", eft, "prompts/judge")))
        elif t > 1:
            result.append(_train(f"M{t}", "dpo", (f"M{t - 1}/train", f"M{t - 1}/pairs")))
        held_out = ("seed/held_out_eft", "seed/eval_prompts", "prompts/judge", "prompts/pairwise")
        files = (f"M{t}/eval.jsonl", f"M{t}/metrics.json")
        result.append(Stage(f"M{t}/eval", (*JUDGED, *sampled, *MEASURED), (*made, *held_out), files))
        if t and opponents:
            result.append(_versus(t, opponents(t)))
        if 0 < t < n:
            aift = (*made, "seed/ift", *held_out, "prompts/instruction", "instructions/source")
            rows = (f"M{t}/aift/instructions.jsonl", f"M{t}/aift/rollouts.jsonl")
            result.append(Stage(f"M{t}/aift", (*JUDGED, "rollout", "instructions"), aift, rows))
            others = _other_models(t, pairs or PairSettings(), (*JUDGED, *sampled, "rollout.candidates"))
            result += others
            inputs = (f"M{t}/aift", *(stage.name for stage in others))
            outputs = ("aift/pairs.jsonl", "aift/dropped.jsonl", "aift/consistency.json", "gate.json")
            result.append(Stage(f"M{t}/pairs", ("pairs",), inputs, tuple(f"M{t}/{name}" for name in outputs)))
    return result


def _versus(t: int, others: list[int]) -> Stage:
    """M_t head to head with `others`: made from the answers in their evaluations, and by the judge of [versus]."""
    settings = (*JUDGED, "versus.judge", "versus.endpoint", "versus.mode", "versus.tie_margin")
    inputs = (*(f"M{k}/eval" for k in (*others, t)), "M1/train", "prompts/versus")
    return Stage(f"M{t}/versus", settings, inputs, (f"M{t}/versus.json",))


def _other_models(t: int, pairs: PairSettings, answered: tuple[str, ...]) -> list[Stage]:
    """What options of `pairs` need of other models: an earlier one's answers, judged by M_t; M_{t-1}'s judgements."""
    result = []
    inputs = (f"M{t}/train", f"M{t}/aift", "prompts/judge")
    if pairs.anchor not in ("off", f"M{t}"):
        past = [f"{pairs.anchor}/train"] if pairs.anchor != "M0" else []
        files = (f"M{t}/aift/past_judged.jsonl", f"M{t}/aift/past.jsonl")
        result.append(Stage(f"M{t}/past", (*answered, "pairs.anchor"), (*inputs, *past), files))
    if pairs.consistency != "off":
        previous = [f"M{t - 1}/train"] if t > 1 else []
        result.append(Stage(f"M{t}/previous", JUDGED, (*inputs, *previous), (f"M{t}/aift/previous_judged.jsonl",)))
    return result


def baseline_stages(trained: bool) -> list[Stage]:
    """The stages that build EFT: SFT of M0 on IFT alone (if `trained`), judging, choosing what agrees with people."""
    train = [_train(BASELINE, "sft", ("seed/ift",))] if trained else []
    judged = ("seed/ranked", "prompts/judge", *(stage.name for stage in train))
    judge = Stage(f"{BASELINE}/judge", (*JUDGED, "baseline.train"), judged, (f"{BASELINE}/judgements.jsonl",))
    chosen = ("run", "baseline.max_share", "baseline.min_rows")
    files = (f"{BASELINE}/eft.jsonl", f"{BASELINE}/dropped.jsonl")
    return [*train, judge, Stage(f"{BASELINE}/eft", chosen, (judge.name,), files)]


def _train(model: str, algorithm: str, inputs: tuple[str, ...]) -> Stage:
    files = tuple(f"{model}/{name}" for name in ("model", "checkpoints", "train.jsonl", "train_rows.jsonl"))
    return Stage(f"{model}/train", ("run", "model", "train", algorithm), inputs, files)
