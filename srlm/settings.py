"""The settings of a run: what each one means, what it may be, and its default. One class per table of config.toml.

A field's constraint and its meaning live in its `Field`; knobs (`knob`) do not change what is computed, so they are
left out of a stage's digest and may change in the middle of a run. A field that comes when there are runs already says
what it would have been then (`later`).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from srlm.fields import Address, Count, Settings, Share, knob, later

FORMAT = 1  # of the run folder; a higher number than this is refused


class RunSettings(Settings):
    """The run as a whole."""

    seed: int = Field(1, ge=0, description="All other seeds, for sampling and shuffling, are derived from it.")


class ModelSettings(Settings):
    """The base model M0."""

    path: str = Field(description="Folder or Hugging Face id of the base model M0.")
    revision: str | None = Field(
        None, description="Revision (branch, tag or commit) of a Hugging Face id; its commit is pinned at init."
    )
    max_length: int = Field(
        2048,
        ge=16,
        description="Context length in tokens, for generation and training; at most the model's own.",
    )


class DataSettings(Settings):
    """How the seed data is split at init. To change this later, make a new run."""

    held_out_eft: float = Field(
        0.25, gt=0, lt=1, description="Share of the EFT prompts that is held out to measure the judge."
    )
    eval_prompts: int = Field(
        200, ge=1, description="Number of evaluation prompts: held out from IFT, or the first ones of --eval-prompts."
    )


class BaselineSettings(Settings):
    """How EFT is built from responses that people ranked (paper: section 3.1.1). Other runs do not use this."""

    train: bool = Field(
        True, description="First train the baseline judge: SFT of M0 on IFT. Not needed if M0 follows instructions."
    )
    max_share: float = Field(
        0.5, gt=0, le=1, description="Maximum share of any one score in EFT, or the judge learns to give it every time."
    )
    min_rows: int = Field(16, ge=1, description="Stop if fewer judgements than this can be kept for EFT.")


class EngineSettings(Settings):
    """How text is generated."""

    replicas: Count = knob(
        "auto", 'Engines that run in parallel, at most as many as the GPUs hold. "auto": so many; on a CPU, one.'
    )
    args: dict[str, Any] = Field(
        {}, description="vLLM engine arguments, passed on unchanged, e.g. tensor_parallel_size = 4."
    )


class Sampled(Settings):
    """Sampling settings shared by the three uses of the model."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus sampling: share of the probability to keep.")
    max_tokens: int = Field(512, ge=1, description="Maximum length of a reply, in tokens.")


class InstructionSettings(Sampled):
    """New instructions, written from few-shot examples (paper: section 2.2 and appendix)."""

    source: Literal["self", "model", "file"] = Field(
        "self", description='Who writes them: the current model ("self"), a fixed "model", or a "file" of prompts.'
    )
    path: str = Field("", description="The fixed model or the JSONL file of prompts, as `source` says.")
    endpoint: Address = knob("", 'OpenAI-compatible server of the fixed model; "" loads it here.')
    count: int = Field(1000, ge=1, description="New instructions per iteration.")
    few_shot_ift: int = Field(6, ge=1, description="Examples from IFT in each request.")
    few_shot_generated: int = Field(2, ge=0, description="Examples from earlier rounds of the same iteration.")
    round_size: int = Field(256, ge=1, description="Requests per round. Generated examples come from earlier rounds.")
    max_attempts: float = Field(4, ge=1, description="Give up after this many requests per instruction wanted.")
    rouge_l: float = Field(
        0.7, gt=0, le=1, description="Drop an instruction with a ROUGE-L of this or more to a kept or seed one."
    )
    keywords: list[str] = Field(
        ["image", "images", "picture", "pictures", "photo", "graph", "file", "video", "draw"],
        description="Drop instructions with one of these words: a text model cannot do what they ask.",
    )
    min_words: int = Field(3, ge=1, description="Drop instructions with fewer words.")
    max_words: int = Field(150, ge=1, description="Drop instructions with more words.")
    temperature: float = Field(0.6, ge=0, description="Sampling temperature.")
    max_tokens: int = Field(256, ge=1, description="Maximum length of an instruction, in tokens.")

    @model_validator(mode="after")
    def _endpoint_of_a_model(self) -> "InstructionSettings":
        if self.endpoint and self.source != "model":
            raise ValueError('instructions.endpoint needs instructions.source = "model", and its name there as path')
        return self


class RolloutSettings(Sampled):
    """Candidate answers to the new instructions."""

    candidates: int = Field(4, ge=2, description="Candidates per instruction (N).")
    max_in_flight: Count = knob(
        "auto",
        "Instructions or evaluation rows in progress at once. After a crash, these are done again. "
        '"auto": as many as all engines together have sequences in a batch.',
    )


SCORED_BY = ("temperature", "top_p", "max_tokens", "mode", "samples", "justify")  # of [judge]: what decides a score


class JudgeSettings(Sampled):
    """LLM-as-a-Judge: how an answer gets its score, and by which rubric."""

    mode: Literal["sampled", "expected", "pairwise"] = Field(
        "sampled",
        description="How to score: mean of sampled scores, mean by probabilities, or share of wins over the others.",
    )
    samples: int = Field(3, ge=1, description="Judgements per candidate, or comparisons per pair of candidates (K).")
    justify: bool = Field(True, description="In mode expected: write K justifications, each before its score.")
    rubric: str = Field(
        "judge.txt",
        description="Rubric for scores. At init: a file or a shipped name. Later: a file in the run's prompts/.",
    )
    pairwise_rubric: str = Field("pairwise.txt", description="Rubric for mode pairwise, named like `rubric`.")
    endpoint: Address = knob("", 'OpenAI-compatible server that judges instead of M_t; "" for M_t itself.')
    model: str = Field("", description="The judge's name on that server.")

    @model_validator(mode="after")
    def _endpoint_with_a_name(self) -> "JudgeSettings":
        if bool(self.endpoint) != bool(self.model):
            raise ValueError("judge.endpoint and judge.model (the model's name there) must be set together")
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
    """Preference pairs: the answer with the best mean score against the worst. Options are off unless set."""

    min_margin: float = Field(
        0.0, ge=0, description="Minimum margin (score difference) of a pair. A tie is never a pair."
    )
    max_margin: float | None = Field(
        None, gt=0, description="Maximum margin of a pair. Beyond it, an answer is often just broken."
    )
    min_judgements: int = Field(1, ge=1, description="Valid judgements that a candidate needs to be in a pair.")
    rho: Share | Annotated[list[Share], Field(min_length=1)] | None = Field(
        None,
        description="Length control (Meta-Rewarding), 0 to 1. Chosen is the shortest answer in the best rho of the "
        "score range, rejected the longest in the worst. A list gives one value per iteration; the last one stays.",
    )
    anchor: Literal["off", "M0", "M1"] = Field(
        "off",
        description="Past anchor (Temporal Self-Rewarding): this earlier model answers too. Its worst answer becomes "
        "the rejected one if M_t scores it lower. Takes two more engine loads per iteration.",
    )
    consistency: Literal["off", "drop", "soften"] = Field(
        "off",
        description="CREAM: M_{t-1} judges M_t's candidates too (one more engine load). Drop instructions that the two "
        "rank differently, or soften DPO's loss by their mean consistency, (tau + 1) / 2.",
    )
    min_consistency: float = Field(
        0.5, ge=0, le=1, description='With "drop": minimum consistency of an instruction. 0.5 means unrelated rankings.'
    )

    def at(self, t: int) -> "PairSettings":
        """The settings for AIFT(M_t): `rho` as one number."""
        if not isinstance(self.rho, list):
            return self
        return self.model_copy(update={"rho": self.rho[min(max(t, 1), len(self.rho)) - 1]})


class LoraSettings(Settings):
    """Low-rank adaptation through peft. Each model is then M0 and an adapter, which `srlm export` merges."""

    rank: int = Field(0, ge=0, le=512, description="LoRA rank; 0 trains all weights.")
    alpha: float = Field(32, gt=0, description="LoRA scaling.")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout.")
    target_modules: str = Field("all-linear", description="Modules to adapt, as peft names them.")


class TrainSettings(Settings):
    """What SFT and DPO share."""

    lora: LoraSettings = LoraSettings()
    save_dtype: Literal["float32", "base"] = later(
        "float32",
        'Dtype of the saved models. In "float32" small updates add up over the iterations; "base" is what M0 came in: '
        "half the disk of a bfloat16 M0, and what its steps cannot hold is lost.",
        before="base",
    )
    gradient_checkpointing: bool | Literal["auto"] = knob(
        "auto", 'Use less memory, but more time. "auto": where training would not fit without, by the memory plan.'
    )
    num_processes: Count = knob(
        "auto",
        "Training processes on this machine, at most one for each GPU. Above 1, torchrun starts them. "
        '"auto": for as many GPUs as can share batch_size evenly; on a CPU, one.',
    )
    per_device_batch: int = knob(8, "Rows per forward pass in each process. Gradients add up to batch_size.", ge=1)
    save_steps: int = knob(100, "Steps between checkpoints. After a crash, training repeats at most this many.", ge=1)
    keep_checkpoints: int = knob(0, "How many of the newest checkpoints to keep once the model is finished.", ge=0)
    keep_models: Literal["all", "needed"] = knob(
        "all",
        'Which models keep their weights: "all", or those that are "needed" by later steps, the last one and the best '
        "one. All else of each model stays.",
    )
    report_to: list[str] = knob(
        [], 'Trackers that get the training curves and figures: "tensorboard", "wandb", "trackio".'
    )


class OptimizerSettings(Settings):
    """One training run."""

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    final_lr_ratio: float = Field(
        0.1, ge=0, le=1, description="Final learning rate as a share of the peak (cosine schedule)."
    )
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    epochs: float = Field(gt=0, description="Passes over the data.")
    batch_size: int = Field(16, ge=1, description="Rows per optimizer step, over all processes.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Maximum gradient norm (gradient clipping).")
    extra: dict[str, Any] = Field({}, description="More TRL arguments, passed on unchanged.")


class SFTSettings(OptimizerSettings):
    """M0 -> M1: supervised fine-tuning on IFT + EFT, loss on the response only."""

    learning_rate: float = Field(5.5e-6, gt=0, description="Peak learning rate.")
    final_lr_ratio: float = Field(
        0.2, ge=0, le=1, description="Final learning rate as a share of the peak (cosine schedule)."
    )
    epochs: float = Field(3, gt=0, description="Passes over the data.")


class DPOSettings(OptimizerSettings):
    """M_t -> M_{t+1}: DPO with M_t as the reference."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate.")
    epochs: float = Field(1, gt=0, description="Passes over the data.")
    beta: float = Field(0.1, gt=0, description="Strength of the pull towards the reference.")
    nll_weight: float = Field(
        0.0, ge=0, description="Weight of an added loss per token of the chosen answer (Iterative RPO: 1). 0 is off."
    )


class EvalSettings(Settings):
    """What is measured after every model."""

    grader: str = Field(
        "", description='Ground truth: a Python function, "module:function", that gives marks; "" for none.'
    )
    candidates: int = Field(4, ge=2, description="Answers per held-out prompt.")
    canaries: int = Field(
        4, ge=0, description="Number of prompts for which worthless answers (canaries) are judged. 0 is off."
    )


class VersusSettings(Settings):
    """Head to head: one judge compares each model's held-out answers with those of earlier models."""

    in_loop: bool = knob(False, "Compare each new model in the loop, before the promotion gate (one more engine load).")
    judge: str = Field("", description='The judge for the whole run: a model, or its name at the endpoint; "" for M1.')
    endpoint: str = Field("", description='OpenAI-compatible server of that judge; "" loads it here.')
    mode: Literal["scored", "pairwise"] = Field(
        "scored", description="The judge scores each answer alone, or compares the two answers, in both orders."
    )
    tie_margin: float = Field(
        0.0, ge=0, description="In mode scored: scores that differ by no more than this are a tie."
    )

    @model_validator(mode="after")
    def _endpoint_with_a_name(self) -> "VersusSettings":
        if self.endpoint and not self.judge:
            raise ValueError("versus.endpoint needs versus.judge, the judge's name there")
        return self


GateCheck = Literal[
    "parse", "entropy", "ties", "pairs", "agreement", "length", "longer", "people", "drop", "consistency", "canaries"
]


class GateSettings(Settings):
    """The health gate: what M_t's judgements must be like before M_{t+1} is trained on them."""

    min_parse_rate: float = knob(
        0.8, "Minimum share of judgements that can be read. Those that cannot are not lost at random.", ge=0, le=1
    )
    min_entropy: float = knob(
        0.5, "Minimum entropy of the scores, in bits. At 0.5, about nine in ten scores are the same.", ge=0
    )
    max_tie_rate: float = knob(
        0.8, "Maximum share of instructions whose candidates tie. Beyond it, pairs are mostly chance.", ge=0, le=1
    )
    min_usable_pairs: float = knob(
        0.1, "Minimum share of instructions that give a pair. Below it, they are not a fair sample.", ge=0, le=1
    )
    min_agreement: float = knob(
        0.1, "Minimum agreement of an answer's K judgements (ICC). 0: the scores are noise; 1: all agree.", le=1
    )
    max_length_correlation: float = knob(
        0.7, "Maximum rank correlation (either sign) of score and length among a prompt's answers.", ge=0, le=1
    )
    max_length_ratio: float = knob(
        1.5, "Maximum mean length of chosen over rejected. The paper's models grew this much per round.", gt=0
    )
    min_accuracy: float = knob(
        0.55, "Minimum pairwise accuracy against people on held-out EFT. 0.5 is guessing.", ge=0, le=1
    )
    max_judge_drop: float = knob(
        0.05, "Maximum loss of that accuracy since the previous model. In the paper it rose by 0.02.", ge=0, le=1
    )
    min_mean_consistency: float = knob(
        0.5,
        "Minimum mean consistency with M_{t-1}, if measured. Below 0.5, the softened loss would reverse pairs.",
        ge=0,
        le=1,
    )
    waive: list[GateCheck] = knob([], "Checks that are shown but do not stop the run.")


PromoteCheck = Literal["wins", "judge", "length", "diversity", "canaries"]


class PromoteSettings(Settings):
    """The promotion gate: what M_{t+1} must show against M_t to count as the better model."""

    action: Literal["off", "warn", "stop"] = knob(
        "warn", "What `srlm iterate` does when a new model is in doubt. --strict stops for one call."
    )
    min_win_rate: float = knob(
        0.5, "The lower end of the win rate's interval must be above this. At 0.5 both may be equal.", ge=0, le=1
    )
    max_accuracy_drop: float = knob(
        0.01, "In doubt if the judge's accuracy fell by more than this over its whole 95% interval.", ge=0, le=1
    )
    max_length_growth: float = knob(
        0.25, "If answers grow by more than this share, they must win at equal length: judges like length.", ge=0
    )
    min_distinct_ratio: float = knob(
        0.7, "Minimum distinct-2 of the answers over the previous model's. Below it, they grow alike.", ge=0, le=1
    )
    waive: list[PromoteCheck] = knob([], "Checks that are shown but do not count.")


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
            raise ValueError("pairs.anchor compares scores, but judge.mode pairwise gives shares of wins")
        if self.pairs.consistency != "off" and self.judge.endpoint:
            raise ValueError("pairs.consistency compares two judges, but judge.endpoint is always the same one")
        return self
