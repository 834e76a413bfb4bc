"""What a config.json says of a model's size: the widths of its layers, and how many parameters each part has. Pure.

Only the model types in FAMILIES are known. Of any other (state-space layers, latent attention, ...) nothing is guessed.
"""

from dataclasses import dataclass
from typing import Any


class UnknownShapeError(ValueError):
    """A config that does not say enough, or whose kind of model is not known here; the message says which."""


@dataclass(frozen=True)
class Family:
    """In what the layers of a model type differ from Llama's."""

    norms: int = 2  # per layer, as wide as the hidden states
    qk_norm: str = ""  # norms of queries and keys: "head" (one for all heads), "all" (as wide as all heads together)
    qkv_bias: bool = False
    biases: bool = False  # in every linear layer, every norm and the LM head
    gated: bool = True  # the MLP has gate, up and down; else only up and down
    activation: int = 2  # values kept by the MLP's activation per value that goes in, its result included
    rotary: int = 0  # copies of the queries that a rotary embedding of a part of each head leaves behind
    fused: bool = False  # one matrix for query, key and value, and one for gate and up: fewer, wider adapters
    adapted: bool = True  # peft knows its experts, and gives them adapters too
    tied: bool = False  # where the config does not say whether the head is the embedding


FAMILIES = {
    "llama": Family(),
    "smollm3": Family(tied=True),
    "mistral": Family(),
    "granite": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(qk_norm="head"),
    "gemma": Family(tied=True),
    "gemma2": Family(norms=4, tied=True),
    "gemma3_text": Family(norms=4, qk_norm="head", tied=True),
    "olmo2": Family(qk_norm="all"),
    "phi3": Family(rotary=1, fused=True),
    # its GELU is written out in Python and keeps four values on the way
    "phi": Family(norms=1, biases=True, gated=False, activation=5, rotary=1),
    "mixtral": Family(),
    "qwen3_moe": Family(qk_norm="head"),
    "olmoe": Family(qk_norm="all"),
    "granitemoe": Family(adapted=False),
}
# What the published files of Gemma 3 leave out, because its config class has it as a default.
LEFT_OUT: dict[str, dict[str, Any]] = {
    "gemma3_text": {"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
}
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # one thing under the names of several families


@dataclass(frozen=True)
class Shape:
    """A decoder: widths and counts. `query` and `key` are as wide as all heads together; `experts` 0: a dense MLP."""

    family: Family
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    query: int
    key: int
    head: int
    mlp: int  # of one dense MLP
    tied: bool
    attention_bias: bool = False
    mlp_bias: bool = False
    experts: int = 0
    active: int = 0  # experts that each token goes through
    expert_mlp: int = 0
    dense_layers: int = 0  # of a mixture of experts: layers with a dense MLP after all
    window: int = 0  # tokens that the sliding layers look back; 0: no such layers
    sliding_layers: int = 0
    width: int = 4  # bytes of a saved weight
    context: int = 0  # tokens; 0: the config does not say


@dataclass(frozen=True)
class Parameters:
    """How many parameters each part has; `head` 0: the embedding serves as one."""

    embeddings: int
    layers: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embeddings + self.layers + self.head


def shape_of(config: dict[str, Any]) -> Shape:
    """The shape that a config.json describes. Raises UnknownShapeError.

    Of a model for text and images it is that of the text part: what sees the images is not counted.
    """
    text = config.get("text_config")
    found = {"dtype": config.get("dtype", config.get("torch_dtype"))} | text if isinstance(text, dict) else config
    kind = str(found.get("model_type", config.get("model_type", "")))
    if kind not in FAMILIES:
        raise UnknownShapeError(f"models of type {kind or 'unknown'} are not known here")
    found = LEFT_OUT.get(kind, {}) | found
    try:
        return _shape(FAMILIES[kind], found)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:  # config.json is foreign data
        raise UnknownShapeError(f"its config.json does not say {error}") from None


def _shape(family: Family, config: dict[str, Any]) -> Shape:
    hidden, heads, layers = (int(config[key]) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    head = int(config.get("head_dim") or hidden // heads)
    kinds = [str(kind) for kind in config.get("layer_types") or []]
    experts = next((int(config[name]) for name in EXPERTS if config.get(name)), 0)
    dense = {int(layer) for layer in config.get("mlp_only_layers") or []}
    step = int(config.get("decoder_sparse_step") or 1)
    dense |= {layer for layer in range(layers) if (layer + 1) % step} if experts else set()
    tied = config.get("tie_word_embeddings")
    return Shape(
        family=family,
        vocabulary=int(config["vocab_size"]),
        hidden=hidden,
        layers=layers,
        heads=heads,
        query=heads * head,
        key=int(config.get("num_key_value_heads") or heads) * head,
        head=head,
        mlp=int(config["intermediate_size"]),
        tied=family.tied if tied is None else bool(tied),
        attention_bias=bool(config.get("attention_bias")) or family.biases,
        mlp_bias=bool(config.get("mlp_bias")) or family.biases,
        experts=experts,
        active=int(config["num_experts_per_tok"]) if experts else 0,
        expert_mlp=int(config.get("moe_intermediate_size") or config["intermediate_size"]) if experts else 0,
        dense_layers=len(dense) if experts else 0,
        window=int(config.get("sliding_window") or 0) if "sliding_attention" in kinds else 0,
        sliding_layers=kinds.count("sliding_attention"),
        width=width_of(config.get("dtype", config.get("torch_dtype"))),
        context=int(config.get("max_position_embeddings") or 0),
    )


def width_of(dtype: Any) -> int:
    """Bytes of one number of this dtype, as config files name it; without a name float32."""
    return 2 if str(dtype).removeprefix("torch.") in ("bfloat16", "float16") else 4


def parameters_of(shape: Shape) -> Parameters:
    """All parameters by part; the last norm is counted with the layers."""
    embeddings, norm = shape.vocabulary * shape.hidden, _norm(shape, shape.hidden)
    sparse = shape.layers - shape.dense_layers if shape.experts else 0
    dense = shape.layers - sparse
    layers = shape.layers * _attention(shape) + dense * _mlp(shape, shape.mlp) + norm
    if sparse:
        expert = 3 * shape.hidden * shape.expert_mlp
        layers += sparse * shape.experts * (expert + shape.hidden)  # and a row of the router for each
    head = 0 if shape.tied else embeddings + (shape.vocabulary if shape.family.biases else 0)
    return Parameters(embeddings, layers, head)


def lora_parameters(shape: Shape, rank: int) -> int:
    """Parameters of adapters of `rank` at every linear layer but the LM head: two thin matrices each.

    Experts are one block of weights in transformers, which peft splits: gate and up together get twice the rank.
    """
    hidden, query, key, wide = shape.hidden, shape.query, shape.key, shape.expert_mlp
    parts, ups = (1, 1) if shape.family.fused else (3, 2 if shape.family.gated else 1)
    gates = 2 if shape.family.gated else 1  # how often the MLP's width comes out of the hidden states
    attention = (parts * hidden + query + 2 * key) + (query + hidden)
    dense = (ups * hidden + gates * shape.mlp) + (shape.mlp + hidden)
    sparse = 0
    if shape.experts and shape.family.adapted:
        sparse = shape.experts * (2 * (hidden + 2 * wide) + (wide + hidden)) + (hidden + shape.experts)  # and router
    sparse_layers = shape.layers - shape.dense_layers if shape.experts else 0
    return rank * (shape.layers * attention + (shape.layers - sparse_layers) * dense + sparse_layers * sparse)


def _attention(shape: Shape) -> int:
    """One layer's attention, with the norms of the layer."""
    hidden, query, key = shape.hidden, shape.query, shape.key
    count = 2 * hidden * query + 2 * hidden * key
    count += query + 2 * key + hidden if shape.attention_bias else 0
    count += query + 2 * key if shape.family.qkv_bias else 0
    count += {"": 0, "head": 2 * shape.head, "all": query + key}[shape.family.qk_norm]
    return count + shape.family.norms * _norm(shape, hidden)


def _mlp(shape: Shape, width: int) -> int:
    matrices = 3 if shape.family.gated else 2
    bias = (matrices - 1) * width + shape.hidden if shape.mlp_bias else 0
    return matrices * shape.hidden * width + bias


def _norm(shape: Shape, width: int) -> int:
    return 2 * width if shape.family.biases else width
