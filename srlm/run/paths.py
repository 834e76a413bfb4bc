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
        self.versus = root / "versus"  # what was judged and answered head to head, by content
        self.tasks = root / "tasks"  # a row per task of lm-evaluation-harness that a model did
        self.trackers = root / "trackers"  # what each tracker has got
        self.tensorboard = root / "tensorboard"
        self.report = root / "report.html"
        self.set_aside = root / "set-aside"  # what --redo replaced
        self.source_dropped = root / "seed" / "source_dropped.jsonl"
        self.split = root / "seed" / "split.json"

    def seed(self, name: str) -> Path:
        """One of the seed files: ift, eft (or ranked), held_out_eft, eval_prompts, dropped."""
        return self.root / "seed" / f"{name}.jsonl"

    def model(self, t: int) -> ModelPaths:
        """M_t's folder."""
        return ModelPaths(self.root / f"M{t}")
