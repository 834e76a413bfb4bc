"""The story: how M0 becomes M1, and M_t becomes M_{t+1}.

    M0 --SFT on IFT+EFT--> M1 --DPO on AIFT(M1)--> M2 --DPO on AIFT(M2)--> M3 ...

A run made from ranked responses first builds its EFT: M0 --SFT on IFT--> baseline, whose judgements of these responses
become EFT where they agree with people.

Each step below is a stage: done once, recorded in run.json, and skipped when it is done. This process loads no model;
each phase is a child process that owns the accelerator alone, since only its end gives all the memory back.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from srlm.console import say
from srlm.errors import StageError
from srlm.generate.instructions import instructions_from_file, what_helps
from srlm.generate.pairs import consistency, make_pairs
from srlm.generate.parts import instruction_filter
from srlm.loop.accept import accepts
from srlm.loop.best import best_of
from srlm.loop.gate import check_judge, unmeasured, what_to_do
from srlm.loop.gpus import say_gpus
from srlm.loop.needs import refuse_what_cannot_fit
from srlm.loop.other_models import past_answers, rank_agreements
from srlm.loop.phases import Phases
from srlm.loop.plan import check_plan
from srlm.loop.promote import check_promotion
from srlm.loop.redo import set_aside
from srlm.loop.retention import remove_unneeded
from srlm.loop.track import track
from srlm.measure.figures import keep_verdict, measure_again, outdated, read_figures, write_figures
from srlm.measure.metrics import instruction_counts
from srlm.measure.versus.compare import compare_run, say_result
from srlm.records import EvalRow, Instruction, PreferencePair, RatedRow, Rollout
from srlm.run.folder import Run
from srlm.run.paths import BASELINE
from srlm.seed.select import RULE, select, shortage
from srlm.store import RowsById, read_rows, write_json, write_rows
from srlm.train.steps import SFT, step_of
from srlm.train.trackers import check_trackers

HARDLY = 0.1  # share of readable judgements below which M0 is no judge to build EFT with; training on IFT may help it
UNCHANGED = 0.95  # share of answers that are the earlier model's own from which a training is said to have done nothing


def iterate(
    run: Run, n: int, redo: str | None = None, accept_judge: bool = False, strict: bool = False, force: bool = False
) -> None:
    """Bring the run to M_n. Safe to rerun: finished stages stay, and a partial one continues from its last row.

    With `redo` ("M2", a stage, or "stale"), its files and all made from them are first moved aside and made again. With
    `accept_judge`, findings of the health gate are recorded and do not stop the run; with `strict`, findings of the
    promotion gate do. With `force`, too little memory is recorded and does not stop the run. Raises UserError,
    StageError or KeyboardInterrupt; whatever is finished by then is on disk.
    """
    with run.lock() as lock:
        run.load()
        check_trackers(run.config.train.report_to)
        changes = check_plan(run, n, redo)
        for change in changes:
            say(
                f"{change['key']} was {change['was']}, is now {change['is']}; accepted, as only unfinished work uses it"
            )
        refuse_what_cannot_fit(run, n, redo, force)
        say_gpus(run.config, run.revision(run.config.model.path))
        if redo is not None:
            for t in run.measured:
                keep_verdict(run, t)  # so that what the gate said goes with the pairs that it was said of
            say(f"--redo {redo}: the old files are kept in {set_aside(run, redo)}")
        paired_otherwise = any(change["key"].startswith("pairs.") for change in changes)
        measure_again(run, run.measured if redo or paired_otherwise else outdated(run))
        Iteration(run, n, lock, accept_judge, strict).all()


def build_eft(run: Run) -> None:
    """Only the EFT of a run that was made from ranked responses: its baseline stages. Raises as `iterate` does."""
    with run.lock() as lock:
        run.load()
        check_plan(run, 1)
        Iteration(run, 1, lock).build_eft()


class Iteration(Phases):
    """One call of `srlm iterate`, step by step; how a step is run as a child process is in `phases`."""

    def __init__(self, run: Run, n: int, lock: int, accept_judge: bool = False, strict: bool = False) -> None:
        super().__init__(run, n, lock)
        self.accept_judge, self.strict = accept_judge, strict

    def all(self) -> None:
        """M0 is only measured; each later model is trained, measured, and (but for the last) makes AIFT.

        After each step, the weights that no later one loads may go (`train.keep_models`).
        """
        self.generate(0)
        if self.n and self.run.builds_eft:
            self.build_eft()
        for t in range(1, self.n + 1):
            self.train(t)
            self.generate(t)
            self.head_to_head(t)
            track(self.run, self.lock)
            self.check_promotion(t)
            if t < self.n:
                self.ask_other_models(t)
                self.make_pairs(t)
                self.check_judge(t)
            remove_unneeded(self.run, self.n)

    # --- EFT from ranked responses -----------------------------------------------------------------------------------

    def build_eft(self) -> None:
        """The baseline (M_0, or M_0 after SFT on IFT alone) judges ranked responses; what agrees with people is EFT."""
        train = self.stages.get(f"{BASELINE}/train")
        if train and not self.done(train):
            self.train_child(BASELINE, SFT)
        judge, choose = self.stages[f"{BASELINE}/judge"], self.stages[f"{BASELINE}/eft"]
        if not self.done(judge):
            with self.recorded(judge) as info:
                model = str(self.run.baseline.weights) if train else self.run.model(0)
                info |= self.generate_child(0, model, ["judge"])
        if not self.done(choose):
            with self.recorded(choose) as info:
                self.select_eft(info)

    def select_eft(self, info: dict[str, Any]) -> None:
        """Write EFT and what was dropped, note rule and counts. Raises StageError where too little is left."""
        run, settings = self.run, self.run.config.baseline
        judged: Iterator[Any] = read_rows(run.baseline.judgements, EvalRow)
        made = select(read_rows(run.seed("ranked"), RatedRow), judged, settings, run.config.run.seed)
        info |= {"rule": RULE} | made.counts
        write_rows(run.baseline.dropped, made.dropped)
        if problem := shortage(made.counts, settings):
            raise StageError(f"{problem}. Settings are in {run.paths.config}; then run the same command again")
        write_rows(run.baseline.eft, made.eft)
        kept, responses = made.counts["kept"], made.counts["responses"]
        say(f"EFT: {kept} of {responses} ranked responses have a judgement that agrees with people and was kept")

    # --- train -----------------------------------------------------------------------------------------------------

    def train(self, t: int) -> None:
        """M_1 = SFT of M_0 on IFT+EFT. M_t = DPO of M_{t-1} on AIFT(M_{t-1}), with M_{t-1} as the reference."""
        if not self.done(self.stages[f"M{t}/train"]):
            self.train_child(f"M{t}", step_of(t))

    # --- generate --------------------------------------------------------------------------------------------------

    def generate(self, t: int) -> None:
        """One engine load of M_t: its evaluation, and AIFT(M_t) when there is a next model to train on it."""
        names = [f"M{t}/eval"] + ([f"M{t}/aift"] if 0 < t < self.n else [])
        owed = [self.stages[name] for name in names if not self.done(self.stages[name])]
        if not owed:
            return
        parts = [stage.part for stage in owed]
        with self.recorded(*owed) as info:
            if "aift" in parts:
                self.instructions_from_elsewhere(t)
            info |= self.generate_child(t, self.run.model(t), parts)
            if "eval" in parts:
                figures = write_figures(self.run, t)
                if t == 0 and self.run.builds_eft:
                    self.warn_of_no_scores(figures["judge"]["parse_rate"])
                self.warn_of_no_change(t, figures["answers"].get("unchanged"))
                measure_again(self.run, [k for k in self.run.measured if k > t])  # they are compared with this one
            if "aift" in parts:
                info["instructions"] = self.count_instructions(t)

    def warn_of_no_scores(self, parsed: float | None) -> None:
        """EFT is made of what the baseline judges: long before that, say if M0 hardly ever writes a score."""
        if parsed is not None and parsed < HARDLY:
            say(
                f"M0: only {parsed:.0%} of its judgements have a score that can be read, and the EFT of this run is "
                f"built from such judgements. To see what it writes: srlm inspect {self.run.root} M0"
            )

    def warn_of_no_change(self, t: int, share: float | None) -> None:
        """Say so where the training changed nothing that shows in the answers."""
        if share is not None and share >= UNCHANGED:
            step = step_of(t).name
            said = "answers exactly as" if share == 1 else f"answers word for word as ({share:.0%})"
            say(
                f"M{t} {said} M{t - 1}: its training changed nothing that shows. Raise {step}.learning_rate or "
                f"{step}.epochs, and see what survived of it: srlm inspect {self.run.root} M{t}"
            )

    def instructions_from_elsewhere(self, t: int) -> None:
        """Where another model or a file is the source, its instructions are written before M_t is loaded."""
        settings, path = self.run.config.instructions, self.run.at(t).instructions
        if settings.source == "model":
            self.generate_child(t, settings.path, ["instructions"])
        elif settings.source == "file" and not path.exists():
            write_rows(path, instructions_from_file(t, settings, instruction_filter(self.run, t)))

    def count_instructions(self, t: int) -> dict[str, Any]:
        """How many instructions were asked for, kept, and dropped by reason; says so when they are too few."""
        rows = read_rows(self.run.at(t).instructions, Instruction)
        counts, wanted = instruction_counts(rows), self.run.config.instructions.count
        if counts["kept"] < wanted:
            kept, asked, dropped = counts["kept"], counts["asked"], _by_reason(counts["dropped"])
            helps = what_helps(self.run.config.instructions, counts["dropped"])
            say(
                f"M{t}: only {kept} of {wanted} instructions were kept, out of {asked} requests; dropped: {dropped}. "
                f"For more: {helps}"
            )
        return counts

    # --- is it better? ---------------------------------------------------------------------------------------------

    def head_to_head(self, t: int) -> None:
        """The run's one judge compares M_t's held-out answers with those of earlier models (versus.in_loop)."""
        stage = self.stages.get(f"M{t}/versus")
        if stage is None or self.done(stage):
            return
        with self.recorded(stage) as info:
            found = compare_run(self.run, [t], self.lock)[f"M{t}"]
            info["judge"] = found["judge"]
            say_result(f"M{t}", found["against"])

    def check_promotion(self, t: int) -> None:
        """Say whether M_t is better than the model before it; with --strict (or promote.action), stop if it is not.

        Nothing is asked again once the next model is trained.
        """
        settings, after = self.run.config.promote, self.stages.get(f"M{t + 1}/train")
        if t < 2 or settings.action == "off" or (after and self.done(after)):
            return
        findings = check_promotion(read_figures(self.run, t), read_figures(self.run, t - 1), settings)
        if not findings:
            return
        open_ones = [finding for finding in findings if not finding.waived]
        stops, best = bool(open_ones) and (self.strict or settings.action == "stop"), best_of(self.run)
        clearly = f"not clearly better than M{t - 1}" if open_ones else f"taken as better than M{t - 1}"
        goes_on = "; the run goes on" if t < self.n and not stops else ""
        say(
            f"M{t} is {clearly}{goes_on}. Best so far: {best.model if best else 'not known'}. "
            f"In doubt: {'; '.join(map(str, findings))}"
        )
        if stops:
            way = "run it without --strict" if settings.action == "warn" else 'set promote.action = "warn"'
            raise StageError(f"M{t} is not promoted; see `srlm inspect {self.run.root}`. To continue anyway, {way}")

    # --- pairs -----------------------------------------------------------------------------------------------------

    def make_pairs(self, t: int) -> None:
        """AIFT(M_t) as preference pairs, and the reason for every instruction that gave none."""
        stage = self.stages[f"M{t}/pairs"]
        if self.done(stage):
            return
        with self.recorded(stage) as info:
            paths, settings = self.run.at(t), self.run.config.pairs.at(t)
            rollouts, past = RowsById(paths.rollouts, Rollout), past_answers(self.run, t)
            taus, dropped = rank_agreements(self.run, t), []

            def pairs() -> Iterator[PreferencePair]:
                for row_id, made in make_pairs(rollouts, settings, past, taus):
                    if isinstance(made, PreferencePair):
                        yield made
                    else:
                        dropped.append({"id": row_id, "reason": made})

            write_rows(paths.pairs, pairs())
            write_rows(paths.dropped, dropped)
            figures = write_figures(self.run, t)["aift"]
            info |= {"pairs": figures["pairs"], "dropped": dict(Counter(row["reason"] for row in dropped))}
            info |= {"rho": settings.rho, "anchored": figures["anchored"]}
            info |= {"consistency": consistency(list(taus.values()))} if taus else {}
            say(f"M{t}: {figures['pairs']} preference pairs from {len(rollouts)} instructions")

    def ask_other_models(self, t: int) -> None:
        """For options of [pairs]: an earlier model's answers, judged by M_t; M_{t-1}'s judgements of M_t's answers."""
        past, previous = self.stages.get(f"M{t}/past"), self.stages.get(f"M{t}/previous")
        if past and not self.done(past):
            with self.recorded(past) as info:
                k = int(self.run.config.pairs.anchor[1:])
                info["answers"] = self.generate_child(t, self.run.model(k), ["past"]) | {"model": f"M{k}"}
                judge = self.run.config.judge.model or f"M{t}"
                info["judgements"] = self.generate_child(t, self.run.model(t), ["judge_past"]) | {"model": judge}
        if previous and not self.done(previous):
            with self.recorded(previous) as info:
                info |= self.generate_child(t, self.run.model(t - 1), ["previous"]) | {"model": f"M{t - 1}"}

    # --- the health gate -------------------------------------------------------------------------------------------

    def check_judge(self, t: int) -> None:
        """Before M_{t+1} is trained on what M_t judged: findings of the health gate stop the run, unless accepted."""
        if self.done(self.stages[f"M{t + 1}/train"]):
            return
        run, figures = self.run, read_figures(self.run, t)
        findings = check_judge(figures, read_figures(run, t - 1), run.config.gate)
        stopping = [finding for finding in findings if not finding.waived]
        accepted = bool(stopping) and accepts(run, t, stopping, self.accept_judge)
        unseen = unmeasured(figures)
        verdict = {"accepted": accepted, "findings": [asdict(finding) for finding in findings], "unmeasured": unseen}
        write_json(run.at(t).gate, verdict)
        for finding in findings:
            say(f"M{t}, health gate: {finding}")
        if unseen:
            say(f"M{t}, health gate: not measured, so not checked: {', '.join(unseen)}")
        if stopping and not accepted:
            raise StageError(what_to_do(run.root, t, self.n, run.config.judge))
        if not figures["aift"]["pairs"]:
            dropped = _by_reason(figures["aift"]["dropped"])
            raise StageError(f"M{t} made no preference pairs ({dropped}); see `srlm inspect {run.root}`")
        say(f"M{t}, health gate: " + ("accepted with --accept-judge" if accepted else "passed"))


def _by_reason(counts: dict[str, int]) -> str:
    """Counts for the user: "3 tie, 2 too short"."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"
