"""What a setting is made of: the base of all sections and the kinds of fields. The fields themselves: `settings`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

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


# Where a server listens; the key is in the environment, so that no name or password belongs here.
Address = Annotated[str, Field(pattern=r"^$|^https?://[^/@]+(/|$)")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, strict=True)] | Literal["auto"]  # "auto": what the machine has decides


def knob(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes speed or reporting but not the outcome: not part of any stage's digest."""
    return Field(default, description=description, json_schema_extra={"knob": True}, **constraints)


def later(default: Any, description: str, before: Any, **constraints: Any) -> Any:
    """A field that came when runs had been made without it; `before` is the value that does what they did.

    A recorded stage that knows nothing of it was made with `before`. At that value a training's digest leaves it out
    (`config.flat`), so that checkpoints of that time stay valid.
    """
    return Field(default, description=description, json_schema_extra={"before": before}, **constraints)
