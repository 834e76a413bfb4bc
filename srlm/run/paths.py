"""Where everything in a run folder lies: each file name stands here, and nowhere else."""

from pathlib import Path

BASELINE = "baseline"  # the folder, and the stages, that build EFT from what people ranked


class TrainedPaths:
    """What a training leaves in the folder of its model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "model"
        self.checkpoints = folder / "checkpoints"
        self.train_rows = folder / "train_rows.jsonl"  # what it was trained on, where that was made for it
        self.train_log = folder / "train.jsonl"  # a row per optimizer step
        self.reference = folder / "reference.json"  # DPO: what the starting model makes of each row


class BaselinePaths(TrainedPaths):
    """The baseline, and the EFT that is built with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.judgements = folder / "judgements.jsonl"
        self.eft = folder / "eft.jsonl"
        self.dropped = folder / "dropped.jsonl"


class ModelPaths(TrainedPaths):
    """M_t, what is known of it, and AIFT(M_t): what it made to train M_{t+1}."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.eval = folder / "eval.jsonl"
        self.metrics = folder / "metrics.json"
        self.gate = folder / "gate.json"  # what the health gate said of its pairs
        self.versus = folder / "versus.json"  # head to head with other models
        self.aift = folder / "aift"
        self.instructions = self.aift / "instructions.jsonl"
        self.rollouts = self.aift / "rollouts.jsonl"
        self.pairs = self.aift / "pairs.jsonl"
        self.dropped = self.aift / "dropped.jsonl"  # why an instruction gave no pair
        self.past = self.aift / "past.jsonl"  # an earlier model's answers to its instructions
        self.past_judged = self.aift / "past_judged.jsonl"  # the same, judged by M_t
        self.previous_judged = self.aift / "previous_judged.jsonl"  # its answers, judged by M_{t-1}
        self.consistency = self.aift / "consistency.json"  # how far M_t and M_{t-1} agree


class AnswerPaths:
    """Prompts that one model was asked beside the loop, and its answers."""

    def __init__(self, folder: Path) -> None:
        self.prompts = folder / "prompts.jsonl"
        self.answers = folder / "answers.jsonl"


class VerdictPaths:
    """What one judge was asked head to head, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.judge = folder / "judge.json"
        self.items = folder / "items.jsonl"
        self.judged = folder / "judged.jsonl"


class RunPaths:
    """The run folder itself."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.toml"
        self.record = root / "run.json"
        self.lock = root / "run.lock"
        self.prompts = root / "prompts"
        self.logs = root / "logs"  # output, job and result of each child process
        self.baseline = BaselinePaths(root / BASELINE)
        self.versus = root / "versus"  # what was judged head to head, by content
        self.answers = self.versus / "answers"  # and answered, see AnswerPaths
        self.tasks = root / "tasks"  # M{t}.jsonl: a row per task of lm-evaluation-harness that M_t did
        self.trackers = root / "trackers"  # what each tracker has got
        self.tensorboard = root / "tensorboard"
        self.report = root / "report.html"
        self.set_aside = root / "set-aside"  # what --redo replaced
        self.split = root / "seed" / "split.json"

    def seed(self, name: str) -> Path:
        """One of the seed files: ift, eft (or ranked), held_out_eft, eval_prompts; dropped, source_dropped."""
        return self.root / "seed" / f"{name}.jsonl"

    def trained(self, model: str) -> TrainedPaths:
        """The folder of "M2", or of the baseline."""
        return TrainedPaths(self.root / model)

    def model(self, t: int) -> ModelPaths:
        """M_t's folder."""
        return ModelPaths(self.root / f"M{t}")
