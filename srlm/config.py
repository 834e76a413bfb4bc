"""Settings: strict, frozen, from TOML with dotted overrides, written back with a comment on every key.

A field's constraint and its meaning live in its `Field`; knobs (`knob`) do not change what is computed, so they are
left out of a stage's digest and may change in the middle of a run.
"""

import copy
import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from srlm.errors import UserError
from srlm.packaged import RECIPES

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


def knob(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes speed or reporting but not the outcome: not part of any stage's digest."""
    return Field(default, description=description, json_schema_extra={"knob": True}, **constraints)


class RunSettings(Settings):
    """The run as a whole."""

    seed: int = Field(1, ge=0, description="Every sampling and shuffling seed derives from it.")


class ModelSettings(Settings):
    """The base model M0."""

    path: str = Field(description="Folder or Hugging Face id of the base model M0.")
    revision: str | None = Field(None, description="Revision of a Hugging Face id.")
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


class RolloutSettings(Sampled):
    """Candidate answers to the new instructions."""

    candidates: int = Field(4, ge=2, description="Candidates per instruction (N).")
    max_in_flight: int = knob(
        64, "Instructions (or evaluation rows) worked on at once: what a crash can make you do again.", ge=1
    )


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


class PairSettings(Settings):
    """Preference pairs: best against worst mean score."""

    min_margin: float = Field(0.0, ge=0, description="Least score difference of a pair; a tie is never a pair.")
    min_judgements: int = Field(1, ge=1, description="Least valid judgements of a candidate to be in a pair.")


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
    report_to: list[str] = knob([], 'Trackers of the trainer: "tensorboard", "wandb", "trackio".')


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


class EvalSettings(Settings):
    """What is measured after every model."""

    grader: str = Field("", description='Ground truth, "module:function" (messages, response) -> marks; "" for none.')
    candidates: int = Field(4, ge=2, description="Answers per held-out prompt.")


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


def recipe_names() -> list[str]:
    """The recipes that ship with srlm."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str) -> dict[str, Any]:
    """A shipped recipe as a nested dict. Raises UserError for an unknown name."""
    if name not in recipe_names():
        raise UserError(f"no recipe {name!r}", f"known: {', '.join(recipe_names())}{_nearest(name, recipe_names())}")
    return tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))


def load_config(path: Path) -> Config:
    """Read config.toml. Raises UserError naming the key (or the line) that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})", "mend that line") from None
    if isinstance(found := values.get("format"), int) and found > FORMAT:
        raise UserError(f"{path}: run folder of format {found}, this srlm knows up to {FORMAT}", "upgrade srlm")
    return parse_config(values, str(path))


def parse_config(values: dict[str, Any], source: str) -> Config:
    """Validate nested settings from `source`. Raises UserError with key, allowed values and the nearest known key."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(*_explain(error, source)) from None


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `values` with each "table.key=value" applied; the value is TOML, or else a plain string."""
    result = copy.deepcopy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {override}: no key=value", "e.g. --set judge.samples=5")
        table = result
        *tables, last = key.strip().split(".")
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {override}: {name} is a value, not a table", "see `srlm config`")
        table[last] = _toml_value(text.strip())
    return result


def to_toml(config: Config) -> str:
    """The config as commented TOML; reading it back gives the same config."""
    import tomlkit  # only `init` and `config` write TOML: `inspect` shall start fast

    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of this run. `srlm iterate --dry-run` says what a change would make stale."))
    _add_fields(document, config)
    return tomlkit.dumps(document)


def flat(settings: Settings, prefix: str = "", knobs: bool = True) -> dict[str, Any]:
    """Dotted key -> value; without the knobs (`knob`) when `knobs` is false."""
    result: dict[str, Any] = {}
    for name, field, value in _fields(settings):
        if isinstance(value, Settings):
            result |= flat(value, f"{prefix}{name}.", knobs)
        elif isinstance(value, dict):
            items = {f"{prefix}{name}.{key}": item for key, item in value.items()}
            result |= {key: item for key, item in items.items() if knobs or key not in SPEED_ARGUMENTS}
        elif knobs or not is_knob(field):
            result[prefix + name] = value
    return result


def is_knob(field: FieldInfo) -> bool:
    """Whether the field may change in the middle of a run."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("knob"))


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, FieldInfo]:
    """Every dotted key that a config may hold."""
    result: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            result |= known_keys(kind, f"{prefix}{name}.")
        else:
            result[prefix + name] = field
    return result


# Dotted key -> default, of every key that has one: what a run knew nothing of when it was made was in effect like this.
DEFAULTS = {
    key: field.default
    for key, field in known_keys().items()
    if not field.is_required() and not isinstance(field.default, dict)  # of a dict, `flat` has a key for each item
}


def _fields(settings: Settings) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in type(settings).model_fields.items():
        yield name, field, getattr(settings, name)


def _add_fields(container: Any, settings: Settings) -> None:
    import tomlkit

    tables = []
    for name, field, value in _fields(settings):
        if isinstance(value, Settings):
            tables.append((name, value))
            continue
        container.add(tomlkit.comment(f"{field.description}{_allowed_note(field)}"))
        if value is None:  # TOML has no null: an unset key is shown, commented out
            container.add(tomlkit.comment(f"{name} ="))
        else:
            container.add(name, value)
    for name, value in tables:
        table = tomlkit.table()
        _add_fields(table, value)
        container.add(tomlkit.nl())
        container.add(name, table)


def _allowed_note(field: FieldInfo) -> str:
    allowed = _allowed(field)
    return f" ({allowed})" if allowed else ""


def _allowed(field: FieldInfo) -> str:
    """The allowed values in words: "one of a, b" or ">= 0, < 1"."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(field.annotation))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in signs.items() if hasattr(m, name)]
    return ", ".join(found)


def _explain(error: ValidationError, source: str) -> tuple[str, str]:
    """(problem, fix) for the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    keys = known_keys()
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {key}", f"see `srlm config`{_nearest(key, list(keys))}"
    if first["type"] == "missing":
        return f"{source}: {key} is not set", "set it"
    field = keys.get(key)
    allowed = f"; allowed: {_allowed(field)}" if field and _allowed(field) else ""
    return f"{source}: {key} = {first['input']!r} ({first['msg']}){allowed}", "give a value that fits"


def _nearest(word: str, known: list[str]) -> str:
    tails = {key.rsplit(".", 1)[-1]: key for key in known}
    close = difflib.get_close_matches(word, known, 1) or [
        tails[tail] for tail in difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), 1)
    ]
    return f"; did you mean {close[0]}?" if close else ""


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
