"""The settings of a run: what each one means, what it may be, and its default. One class per table of config.toml.

A field's constraint and its meaning live in its `Field`; knobs (`knob`) do not change what is computed, so they are
left out of a stage's digest and may change in the middle of a run. A field that comes when there are runs already says
what it would have been then (`later`).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

FORMAT = 1  # of the run folder; a higher number than this is refused


# vLLM's own arguments that change where and how fast it computes, not what: knobs, too.
SPEED_ARGUMENTS = {
    f"engine.args.{name}"
    for name in (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "distributed_executor_backend",
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "enable_prefix_caching",
        "disable_log_stats",
    )
}


class Settings(BaseModel):
    """Base of all sections: unknown keys and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise ValueError("Input should be a number")
        return value


Share = Annotated[float, Field(ge=0, le=1)]


def knob(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes speed or reporting but not the outcome: not part of any stage's digest."""
    return Field(default, description=description, json_schema_extra={"knob": True}, **constraints)


def later(default: Any, description: str, before: Any, **constraints: Any) -> Any:
    """A field that came when runs had been made without it; `before` is the value that does what they did.

    A recorded stage that knows nothing of it was made with `before`. At that value a training's digest leaves it out
    (`config.flat`), so that checkpoints of that time stay valid.
    """
    return Field(default, description=description, json_schema_extra={"before": before}, **constraints)


class RunSettings(Settings):
    """The run as a whole."""

    seed: int = Field(1, ge=0, description="Every sampling and shuffling seed derives from it.")


class ModelSettings(Settings):
    """The base model M0."""

    path: str = Field(description="Folder or Hugging Face id of the base model M0.")
    revision: str | None = Field(None, description="Revision of a Hugging Face id; its commit is pinned at init.")
    max_length: int = Field(
        2048, ge=16, description="Context in tokens, for generation and training; at most what the model has."
    )


class DataSettings(Settings):
    """How the seed data was split at init (changing it later needs a new run)."""

    held_out_eft: float = Field(
        0.25, gt=0, lt=1, description="Share of the EFT prompts held out to measure the judge; split by prompt."
    )
    eval_prompts: int = Field(
        200, ge=1, description="Held-out evaluation prompts: taken from IFT, or the first so many of --eval-prompts."
    )


class BaselineSettings(Settings):
    """How EFT is built from responses that people ranked (paper: section 3.1.1); without them nothing reads this."""

    train: bool = Field(
        True, description="First train the judging baseline by SFT of M0 on IFT; false where M0 follows instructions."
    )
    max_share: float = Field(
        0.5, gt=0, le=1, description="Largest share of one score in EFT: else the judge learns to say it always."
    )
    min_rows: int = Field(16, ge=1, description="Stop where fewer judgements agree with the human ranking.")


class EngineSettings(Settings):
    """How text is generated."""

    replicas: int = knob(1, "Engines side by side, each with its share of the GPUs, or of the CPU's cores.", ge=1)
    args: dict[str, Any] = Field(
        {}, description="vLLM engine arguments, passed through as they are, e.g. tensor_parallel_size = 4."
    )


class Sampled(Settings):
    """Sampling settings shared by the three uses of the model."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus sampling: share of the probability kept.")
    max_tokens: int = Field(512, ge=1, description="Longest reply in tokens.")


class InstructionSettings(Sampled):
    """New instructions, written from few-shot examples (paper: section 2.2 and appendix)."""

    source: Literal["self", "model", "file"] = Field(
        "self", description='Who writes them: the current model ("self"), a fixed "model", or a "file".'
    )
    path: str = Field("", description="The fixed model, or the JSONL file of prompts, that `source` names.")
    endpoint: str = Field("", description='OpenAI-compatible server of the fixed model; "": it is loaded here.')
    count: int = Field(1000, ge=1, description="New instructions per iteration.")
    few_shot_ift: int = Field(6, ge=1, description="Examples from IFT in each request.")
    few_shot_generated: int = Field(2, ge=0, description="Examples from this iteration's earlier rounds.")
    round_size: int = Field(256, ge=1, description="Requests per round; few-shot examples come from earlier rounds.")
    max_attempts: float = Field(4, ge=1, description="Give up after so many requests per instruction wanted.")
    rouge_l: float = Field(
        0.7, gt=0, le=1, description="Drop an instruction whose ROUGE-L with a kept or seed one reaches this."
    )
    keywords: list[str] = Field(
        ["image", "images", "picture", "pictures", "photo", "graph", "file", "video", "draw"],
        description="Drop an instruction with one of these words: a text model cannot do what it asks.",
    )
    min_words: int = Field(3, ge=1, description="Drop shorter instructions.")
    max_words: int = Field(150, ge=1, description="Drop longer instructions.")
    temperature: float = Field(0.6, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(256, ge=1, description="Longest instruction in tokens.")

    @model_validator(mode="after")
    def _endpoint_of_a_model(self) -> "InstructionSettings":
        if self.endpoint and self.source != "model":
            raise ValueError('instructions.endpoint needs instructions.source = "model", and path, its name there')
        return self


class RolloutSettings(Sampled):
    """Candidate answers to the new instructions."""

    candidates: int = Field(4, ge=2, description="Candidates per instruction (N).")
    max_in_flight: int = knob(
        64, "Instructions (or evaluation rows) worked on at once: what a crash can make you do again.", ge=1
    )


SCORED_BY = ("temperature", "top_p", "max_tokens", "mode", "samples", "justify")  # of [judge]: what decides a score


class JudgeSettings(Sampled):
    """LLM-as-a-Judge: how a score is made, and by which rubric."""

    mode: Literal["sampled", "expected", "pairwise"] = Field(
        "sampled",
        description="Mean of sampled scores, probability-weighted score, or share of wins over the other candidates.",
    )
    samples: int = Field(3, ge=1, description="Judgements per candidate, or comparisons per pair of them (K).")
    justify: bool = Field(True, description="Mode expected: write a justification (K of them) before the score.")
    rubric: str = Field(
        "judge.txt",
        description="Rubric of scores: at init a file or a shipped name; then a file in the run's prompts/.",
    )
    pairwise_rubric: str = Field("pairwise.txt", description="Rubric of mode pairwise; named like `rubric`.")
    endpoint: str = Field("", description='OpenAI-compatible server that judges in the place of M_t; "": M_t itself.')
    model: str = Field("", description="Name of the judge at that server.")

    @model_validator(mode="after")
    def _endpoint_with_a_name(self) -> "JudgeSettings":
        if bool(self.endpoint) != bool(self.model):
            raise ValueError("judge.endpoint and judge.model (the model's name there) go together")
        return self

    @property
    def compares(self) -> bool:
        """Whether the mode shows the judge two responses at once."""
        return self.mode == "pairwise"

    @property
    def fine(self) -> bool:
        """Whether single scores lie between the steps of the scale."""
        return self.mode == "expected"


class PairSettings(Settings):
    """Preference pairs: best against worst mean score; the options are off unless set."""

    min_margin: float = Field(0.0, ge=0, description="Least score difference of a pair; a tie is never a pair.")
    max_margin: float | None = Field(
        None, gt=0, description="Greatest score difference of a pair: beyond it, an answer is often just broken."
    )
    min_judgements: int = Field(1, ge=1, description="Least valid judgements of a candidate to be in a pair.")
    rho: Share | Annotated[list[Share], Field(min_length=1)] | None = Field(
        None,
        description="Length control (Meta-Rewarding), 0 to 1: chosen is the shortest answer in the best rho of the "
        "score range, rejected the longest in the worst. A list has one per iteration; its last one holds on.",
    )
    anchor: Literal["off", "M0", "M1"] = Field(
        "off",
        description="Past anchor (Temporal Self-Rewarding): this earlier model answers too, and its worst answer is "
        "the rejected one where M_t scores it lower. Two more engine loads an iteration.",
    )
    consistency: Literal["off", "drop", "soften"] = Field(
        "off",
        description="CREAM: M_{t-1} judges M_t's candidates too (one more engine load). Drop instructions that the two "
        "rank differently, or soften DPO's loss by their mean consistency (tau + 1) / 2.",
    )
    min_consistency: float = Field(
        0.5, ge=0, le=1, description="Drop instructions of less consistency; 0.5: unrelated rankings."
    )

    def at(self, t: int) -> "PairSettings":
        """The settings for AIFT(M_t): `rho` as one number."""
        if not isinstance(self.rho, list):
            return self
        return self.model_copy(update={"rho": self.rho[min(max(t, 1), len(self.rho)) - 1]})


class LoraSettings(Settings):
    """Low-rank adaptation through peft, merged into the saved model."""

    rank: int = Field(0, ge=0, description="LoRA rank; 0 trains all weights.")
    alpha: float = Field(32, gt=0, description="LoRA scaling.")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout.")
    target_modules: str = Field("all-linear", description="Modules to adapt, as peft names them.")


class TrainSettings(Settings):
    """What SFT and DPO share."""

    lora: LoraSettings = LoraSettings()
    gradient_checkpointing: bool = Field(False, description="Trade time for memory.")
    num_processes: int = knob(1, "Training processes on this machine, started through torchrun when above 1.", ge=1)
    per_device_batch: int = knob(8, "Rows per forward pass and process; gradients are accumulated to batch_size.", ge=1)
    save_steps: int = knob(100, "Steps between checkpoints: what a crash can make the trainer do again.", ge=1)
    keep_checkpoints: int = knob(0, "The trainer's newest so many checkpoints stay when the model is finished.", ge=0)
    report_to: list[str] = knob([], 'Trackers of training and of the models: "tensorboard", "wandb", "trackio".')


class OptimizerSettings(Settings):
    """One training run."""

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    final_lr_ratio: float = Field(0.1, ge=0, le=1, description="Final over peak learning rate (cosine).")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="Share of the steps with rising learning rate.")
    epochs: float = Field(gt=0, description="Passes over the data.")
    batch_size: int = Field(16, ge=1, description="Rows per optimizer step, over all processes.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    extra: dict[str, Any] = Field({}, description="More TRL arguments, passed through as they are.")


class SFTSettings(OptimizerSettings):
    """M0 -> M1: supervised fine-tuning on IFT + EFT, loss on the response only."""

    learning_rate: float = Field(5.5e-6, gt=0, description="Peak learning rate.")
    final_lr_ratio: float = Field(0.2, ge=0, le=1, description="Final over peak learning rate (cosine).")
    epochs: float = Field(3, gt=0, description="Passes over the data.")


class DPOSettings(OptimizerSettings):
    """M_t -> M_{t+1}: DPO with M_t as the reference."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate.")
    epochs: float = Field(1, gt=0, description="Passes over the data.")
    beta: float = Field(0.1, gt=0, description="Strength of the pull towards the reference.")
    nll_weight: float = Field(
        0.0, ge=0, description="Weight of the chosen answer's loss per token beside DPO's (Iterative RPO: 1); 0: none."
    )


class EvalSettings(Settings):
    """What is measured after every model."""

    grader: str = Field("", description='Ground truth, "module:function" (messages, response) -> marks; "" for none.')
    candidates: int = Field(4, ge=2, description="Answers per held-out prompt.")
    canaries: int = Field(
        4, ge=0, description="Held-out prompts with which worthless answers (canaries) are judged; 0: none."
    )


class VersusSettings(Settings):
    """Head to head: one judge compares each model's held-out answers with those of earlier models."""

    in_loop: bool = knob(False, "Compare each new model in the loop, before its promotion (one more engine load).")
    judge: str = Field("", description='Who judges in the whole run: a model, or a name at the endpoint; "": M1.')
    endpoint: str = Field("", description='OpenAI-compatible server of that judge; "": it is loaded here.')
    mode: Literal["scored", "pairwise"] = Field(
        "scored", description="The judge scores each answer alone, or sees both answers together, in both orders."
    )
    tie_margin: float = Field(0.0, ge=0, description="Mode scored: scores that differ by no more than this are a tie.")

    @model_validator(mode="after")
    def _endpoint_with_a_name(self) -> "VersusSettings":
        if self.endpoint and not self.judge:
            raise ValueError("versus.endpoint needs versus.judge, the model's name there")
        return self


GateCheck = Literal[
    "parse", "entropy", "ties", "pairs", "agreement", "length", "longer", "people", "drop", "consistency", "canaries"
]


class GateSettings(Settings):
    """The health gate: what M_t's judgements must be like before M_{t+1} is trained on them."""

    min_parse_rate: float = knob(
        0.8, "Least share of judgements that can be read: unread answers drop out, and not at random.", ge=0, le=1
    )
    min_entropy: float = knob(
        0.5, "Least entropy of the scores in bits: 0.5 is about nine of ten scores the same.", ge=0
    )
    max_tie_rate: float = knob(
        0.8, "Largest share of instructions whose candidates tie: the other pairs are then mostly chance.", ge=0, le=1
    )
    min_usable_pairs: float = knob(
        0.1, "Least share of instructions that give a pair: fewer are the odd ones, not a sample.", ge=0, le=1
    )
    min_agreement: float = knob(
        0.1, "Least agreement of an answer's K judgements (ICC): at 0 the scores are noise, at 1 all agree.", le=1
    )
    max_length_correlation: float = knob(
        0.7, "Largest rank correlation (either sign) of score and length among one prompt's answers.", ge=0, le=1
    )
    max_length_ratio: float = knob(
        1.5, "Largest mean length of chosen over rejected: the paper's models grew that much each round.", gt=0
    )
    min_accuracy: float = knob(
        0.55, "Least pairwise accuracy against people on held-out EFT: 0.5 is guessing.", ge=0, le=1
    )
    max_judge_drop: float = knob(
        0.05, "Largest loss of that accuracy since the previous model: the paper's grew by about 0.02.", ge=0, le=1
    )
    min_mean_consistency: float = knob(
        0.5,
        "Least mean consistency with M_{t-1}, where it is measured: below 0.5 its softened loss turns pairs.",
        ge=0,
        le=1,
    )
    waive: list[GateCheck] = knob([], "Checks that are shown, but do not stop the run.")


PromoteCheck = Literal["wins", "judge", "length", "diversity", "canaries"]


class PromoteSettings(Settings):
    """The promotion gate: what M_{t+1} must show against M_t to count as the better model."""

    action: Literal["off", "warn", "stop"] = knob(
        "warn", "What `srlm iterate` does when a new model is in doubt; --strict stops for that call."
    )
    min_win_rate: float = knob(
        0.5, "The lower bound of the win rate must be above it: at 0.5 the two may be alike.", ge=0, le=1
    )
    max_accuracy_drop: float = knob(
        0.01, "In doubt where the whole interval of the change of the judge's accuracy is below minus this.", ge=0, le=1
    )
    max_length_growth: float = knob(
        0.25, "Growth of the mean answer that needs a win at equal length: judges like length for its own sake.", ge=0
    )
    min_distinct_ratio: float = knob(
        0.7, "Least distinct-2 of the answers over that of the model before: below, they grow alike.", ge=0, le=1
    )
    waive: list[PromoteCheck] = knob([], "Checks that are shown, but do not count.")


class Config(Settings):
    """All settings of a run; one field per table of config.toml."""

    format: int = Field(FORMAT, description="Format of the run folder.")
    recipe: str = Field("paper", description="The recipe these settings started from.")
    run: RunSettings = RunSettings()
    model: ModelSettings
    data: DataSettings = DataSettings()
    baseline: BaselineSettings = BaselineSettings()
    engine: EngineSettings = EngineSettings()
    instructions: InstructionSettings = InstructionSettings()
    rollout: RolloutSettings = RolloutSettings()
    judge: JudgeSettings = JudgeSettings()
    pairs: PairSettings = PairSettings()
    train: TrainSettings = TrainSettings()
    sft: SFTSettings = SFTSettings()
    dpo: DPOSettings = DPOSettings()
    eval: EvalSettings = EvalSettings()
    versus: VersusSettings = VersusSettings()
    gate: GateSettings = GateSettings()
    promote: PromoteSettings = PromoteSettings()

    @model_validator(mode="after")
    def _scores_to_compare(self) -> "Config":
        if self.pairs.anchor != "off" and self.judge.compares:
            raise ValueError("pairs.anchor compares scores, and judge.mode pairwise gives shares of wins")
        if self.pairs.consistency != "off" and self.judge.endpoint:
            raise ValueError("pairs.consistency compares two judges, and at judge.endpoint it is always the same one")
        return self
