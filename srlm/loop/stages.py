"""The stages of a run: what is done once each, in which order, from which settings and inputs to which files."""

from srlm.run.folder import Run
from srlm.run.paths import BASELINE
from srlm.run.stage import JUDGED, SAMPLED, Stage, opponents
from srlm.train.steps import SFT, TrainingStep, step_of

MEASURED = ("eval.grader", "eval.candidates", "eval.canaries")  # of [eval], what a model's own evaluation reads
HELD_OUT = ("seed/held_out_eft", "seed/eval_prompts", "prompts/judge", "prompts/pairwise")


def stages(run: Run, n: int) -> list[Stage]:
    """All stages that bring this run to M_n, in the order they are run; some only where a setting calls for them."""
    versus = run.config.versus
    result = []
    for t in range(n + 1):
        if t == 1 and run.builds_eft:
            result += _baseline(run)
        if t:
            result.append(_train(run, f"M{t}", step_of(t)))
        made = (f"M{t}/train",) if t else ()
        paths = run.at(t)
        result.append(
            Stage(f"M{t}/eval", (*JUDGED, *SAMPLED, *MEASURED), (*made, *HELD_OUT), (paths.eval, paths.metrics))
        )
        if t and versus.in_loop:
            result.append(_versus(run, t, opponents(t, pairwise=versus.mode == "pairwise")))
        if 0 < t < n:
            aift = (*made, "seed/ift", *HELD_OUT, "prompts/instruction", "instructions/source")
            result.append(
                Stage(f"M{t}/aift", (*JUDGED, "rollout", "instructions"), aift, (paths.instructions, paths.rollouts))
            )
            result += step_of(t + 1).stages(run, t)
    return result


def _train(run: Run, model: str, step: TrainingStep) -> Stage:
    paths = run.paths.trained(model)
    files = (paths.weights, paths.checkpoints, paths.train_log, paths.train_rows, paths.reference)
    settings = ("run", "model", "train", step.name)
    return Stage(f"{model}/train", settings, step.inputs(run, model), files, step=step.name)


def _versus(run: Run, t: int, others: list[int]) -> Stage:
    """M_t head to head with `others`: made from the answers in their evaluations, and by the judge of [versus]."""
    settings = (*JUDGED, "versus.judge", "versus.endpoint", "versus.mode", "versus.tie_margin")
    inputs = (*(f"M{k}/eval" for k in (*others, t)), "M1/train", "prompts/versus")
    return Stage(f"M{t}/versus", settings, inputs, (run.at(t).versus,))


def _baseline(run: Run) -> list[Stage]:
    """The stages that build EFT: SFT of M0 on IFT alone (if asked for), judging, choosing what agrees with people."""
    train = [_train(run, BASELINE, SFT)] if run.config.baseline.train else []
    judged = ("seed/ranked", "prompts/judge", *(stage.name for stage in train))
    judge = Stage(f"{BASELINE}/judge", (*JUDGED, "baseline.train"), judged, (run.baseline.judgements,))
    chosen = ("run", "baseline.max_share", "baseline.min_rows")
    files = (run.baseline.eft, run.baseline.dropped)
    return [*train, judge, Stage(f"{BASELINE}/eft", chosen, (judge.name,), files)]
