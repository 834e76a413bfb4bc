"""What one vLLM engine has to hold in memory, part by part in bytes, from a model's shape alone. Pure.

On a GPU vLLM takes a share of each card's memory at once, and whatever is left of it becomes KV cache. So the parts say
what must fit into that share: with less, it refuses to start.
"""

from dataclasses import dataclass, replace

from srlm.model.memory import FLOAT32, ROOM
from srlm.model.shape import Shape, lora_parameters, parameters_of, width_of

# The CUDA context, the kernels that are loaded, and blocks that torch's allocator cannot use. Not measured.
GPU_OVERHEAD = 2**30
GPU_SHARE = 0.92  # of a card, vLLM 0.32's default for gpu_memory_utilization
# Measured on a CPU: the child with vLLM's imports and the embedded model loaded, before it has written anything.
LOADED_ON_CPU = 1800 * 2**20
LARGE_CARD = 70 * 2**30  # from this size on vLLM's batches are larger
VOCABULARY_STEP = 64  # vLLM fills up the vocabulary to a multiple of this


@dataclass(frozen=True)
class EngineUse:
    """How an engine is loaded: its context, and over how many cards its weights are spread. `card`: bytes, 0: a CPU.

    `arguments` are vLLM's own. `lora_rank` is that of the adapter that lies beside the weights, 0: none.
    """

    max_length: int
    card: int
    arguments: dict[str, object]
    lora_rank: int = 0

    @property
    def spread(self) -> int:
        """Cards that share the weights."""
        return max(1, self._number("tensor_parallel_size", 1) * self.pipeline)

    @property
    def pipeline(self) -> int:
        """Cards that take the layers in turn."""
        return max(1, self._number("pipeline_parallel_size", 1))

    @property
    def share(self) -> float:
        """Share of each card that vLLM takes."""
        asked = self.arguments.get("gpu_memory_utilization")
        return float(asked) if isinstance(asked, int | float) else GPU_SHARE

    @property
    def width(self) -> int:
        """Bytes of a weight: srlm asks for float32 on a CPU; on a GPU vLLM takes 16 bits unless told."""
        dtype = self.arguments.get("dtype")
        return width_of(dtype) if dtype not in (None, "auto") else 2 if self.card else FLOAT32

    @property
    def batch(self) -> tuple[int, int]:
        """(tokens, sequences) that one step may take: vLLM's defaults for its class LLM."""
        large = self.card >= LARGE_CARD
        tokens = self._number("max_num_batched_tokens", 16384 if large else 8192)
        return max(tokens, self.max_length), self._number("max_num_seqs", 1024 if large else 256)

    def _number(self, name: str, default: int) -> int:
        found = self.arguments.get(name)
        return found if isinstance(found, int) else default


def engine_memory(shape: Shape, use: EngineUse) -> dict[str, int]:
    """Part -> bytes that one engine must hold on each of its cards, with the least KV cache that it starts with."""
    tokens, sequences = use.batch
    wide = shape.active * shape.expert_mlp if shape.experts else shape.mlp
    return {
        "weights": parameters_of(shape).total * use.width // use.spread,
        "adapter": lora_parameters(shape, use.lora_rank) * use.width,  # at most, on each card
        # vLLM refuses a cache that does not hold one sequence of the longest
        "KV cache of one sequence": kv_cache(shape, use.max_length, use.width) // use.spread,
        # a trial step of the largest batch: hidden states and residual, gate and up of one layer; logits and their
        # probabilities in float32. Estimated, and not measured on a GPU.
        "batch": tokens * 2 * (shape.hidden + wide) * use.width + 2 * sequences * shape.vocabulary * FLOAT32,
        **({"the device's own": GPU_OVERHEAD} if use.card else {"imports": LOADED_ON_CPU}),
    }


def tensor_groups(shape: Shape, use: EngineUse, cards: int) -> list[int]:
    """The values of tensor_parallel_size with which vLLM can spread the model over at most so many `cards`; 1 is one.

    What stands as many times as there are heads or is as wide as an MLP is cut evenly; heads of keys and values may
    also be copied, if all of them as often (vLLM 0.32, model_executor/models and its `divide`).
    """
    vocabulary = -(-shape.vocabulary // VOCABULARY_STEP) * VOCABULARY_STEP
    cut, keys = (shape.heads, shape.mlp, shape.expert_mlp, vocabulary), shape.key // shape.head
    return [
        count
        for count in range(1, max(1, cards // use.pipeline) + 1)
        if not any(width % count for width in cut) and (keys % count == 0 or count % keys == 0)
    ]


def spread_out(shape: Shape, use: EngineUse, cards: int) -> EngineUse:
    """The use with the smallest tensor-parallel group that holds the model with some room, at most of so many `cards`.

    The largest group where none does; what the user has set stands.
    """
    if "tensor_parallel_size" in use.arguments:
        return use
    ways = [use] + [
        replace(use, arguments=use.arguments | {"tensor_parallel_size": count})
        for count in tensor_groups(shape, use, cards)[1:]
    ]
    fitting = (way for way in ways if sum(engine_memory(shape, way).values()) <= ROOM * way.share * way.card)
    return next(fitting, ways[-1])


def kv_cache(shape: Shape, tokens: int, width: int) -> int:
    """Bytes of keys and values of one sequence; layers with a sliding window keep no more tokens than it is wide."""
    seen = min(tokens, shape.window or tokens)
    whole = shape.layers - shape.sliding_layers
    return 2 * shape.key * width * (whole * tokens + shape.sliding_layers * seen)
