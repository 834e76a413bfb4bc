"""What a training has to hold in memory, part by part in bytes, from a model's shape alone. Pure.

The parts are those at the fullest moment of a step. They were read off the code that runs (transformers' layers, TRL's
LM head, torch's optimizer) and are checked by benchmarks/memory.py against measured peaks, on a CPU and on GPUs.
Figures that stand for a measurement say so. What an engine holds is in `engine_memory`.
"""

from dataclasses import dataclass, replace

from srlm.model.shape import Shape, lora_parameters, parameters_of

FLOAT32, BFLOAT16 = 4, 2  # bytes
ROOM = 0.85  # what "auto" chooses needs at most so much of the memory: the plan is right to 15%
ADAM = 2 * FLOAT32  # AdamW keeps two moments of each trained parameter, in float32 as the parameter itself
# TRL 1.16 computes log-probabilities in tiles of at most so many tokens by so many entries of the vocabulary.
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
TILE_TOKENS_ON_CPU = 128  # srlm's own size, see `train.head`: 128 and 256 were as fast, 64, 512 and 4,096 slower
# Without Triton its backward pass holds at its fullest the tile, seven float32 intermediates and a mask of bytes:
# counted in trl/kernels/chunked_logprob.py, measured as 8.1 to 8.3 at four shapes. With Triton it works in place.
TILES_ON_CPU = 8.25
# Measured on an H100 and an H200, in all trainings: what CUDA and the loaded kernels take beside torch's own blocks.
CUDA_CONTEXT = 3 * 2**28
# Of what comes and goes in a step, so much more lies in blocks of torch's allocator that are not full: fitted there.
LOST_ON_GPU = 0.1
# Measured on a CPU: the train child's imports (Linux, requirements/cpu.txt), and what libraries keep beside the parts.
TRAIN_IMPORTS, CPU_BUFFERS = 640 * 2**20, 50 * 2**20
# On a CPU the C library keeps blocks below this size (process/launch.MEMORY) when they are given back, and what lies
# between them is lost. It grows with layers and tokens, with checkpointing as without: so many times the inputs of all
# layers, in full trainings and in LoRA's. Fitted to measured peaks.
MAPPED = 32 * 2**20
LOST, LOST_BY_LORA = 9.0, 21.5


@dataclass(frozen=True)
class Training:
    """One training process: `rows` a forward pass of at most `tokens` each. With `pairs` (DPO) a row is two sequences.

    DPO's reference takes nothing: its log-probabilities are computed before the first step (`train.reference`).
    """

    rows: int
    tokens: int
    pairs: bool = False
    accumulation: int = 1  # forward passes an optimizer step
    processes: int = 1
    lora_rank: int = 0  # 0: all weights are trained
    lora_dropout: float = 0.0
    checkpointing: bool = False
    gpu: bool = True  # there the forward pass is in bfloat16, and TRL's LM head has kernels of its own

    @property
    def width(self) -> int:
        """Bytes of a number in the forward pass."""
        return BFLOAT16 if self.gpu else FLOAT32

    @property
    def all_tokens(self) -> int:
        """Tokens of a forward pass, padding included."""
        return self.rows * self.tokens * (2 if self.pairs else 1)


def training_memory(shape: Shape, job: Training) -> dict[str, int]:
    """Part -> bytes that one training process holds at the fullest moment of a step; 0 for a part that it lacks."""
    every, adapters = parameters_of(shape).total, lora_parameters(shape, job.lora_rank)
    trained = adapters or every
    # What is trained is float32, whatever it was saved in. Under LoRA the rest keeps its dtype, but for a CPU.
    frozen = every * (shape.width if job.gpu else FLOAT32) if adapters else 0
    result = {
        "weights": frozen + trained * FLOAT32,
        "optimizer": trained * ADAM,
        # Processes average their gradients in buckets (torch's DDP): a second copy of all.
        "gradient buckets": trained * FLOAT32 if job.processes > 1 else 0,
    }
    head, gradients = lm_head(shape, job), trained * FLOAT32
    moments = _moments(shape, job, gradients, head)
    fullest = max(moments, key=lambda parts: sum(parts.values()))
    if job.gpu:
        lost = int(LOST_ON_GPU * sum(fullest.values()))
        return result | fullest | {"lost between blocks": lost, "the device's own": CUDA_CONTEXT}
    inputs = activations(shape, replace(job, checkpointing=True))
    times = 0 if inputs >= MAPPED * shape.layers else LOST_BY_LORA if adapters else LOST
    return result | fullest | {"libraries": CPU_BUFFERS, "lost between blocks": int(times * inputs)}


def _moments(shape: Shape, job: Training, gradients: int, head: int) -> list[dict[str, int]]:
    """What comes and goes, at the moments of a step that may be the fullest.

    These are the backward pass of the LM head, of the last layer and of the first; and the end of the forward pass,
    which matters where it has made bfloat16 copies of the weights.
    """
    kept, copies = activations(shape, job), bfloat16_copies(shape, job)
    layer, work = job.all_tokens * layer_activations(shape, job), layer_at_work(shape, job)
    again = layer if job.checkpointing else 0  # what the layer kept is made again
    # Copies go with the graph that they are part of; with checkpointing there is none after the forward pass.
    held = 0 if job.checkpointing else copies
    # Gradients come as the backward pass goes, from the head down; with accumulation earlier ones are there.
    early = gradients if job.accumulation > 1 else 0
    of_head = 0 if job.lora_rank else shape.vocabulary * shape.hidden * FLOAT32
    parts = ("gradients", "bfloat16 copies", "activations", "LM head")
    moments = [
        (early, held, kept, head),
        (early, held, kept + again + work, of_head),
        (gradients, 0, layer + work, 0),
        (early, copies, kept, tile_bytes(shape, job)),
    ]
    return [dict(zip(parts, moment, strict=True)) for moment in moments]


def activations(shape: Shape, job: Training) -> int:
    """Bytes that the forward pass keeps for the backward pass; with checkpointing the input of each layer alone."""
    if job.checkpointing:
        # hidden states between layers are as wide as the weights of embedding and norms
        width = shape.width if job.gpu and job.lora_rank else FLOAT32
        return shape.layers * job.all_tokens * shape.hidden * width
    return shape.layers * job.all_tokens * layer_activations(shape, job)


def layer_activations(shape: Shape, job: Training) -> int:
    """Bytes a token that one layer keeps for its backward pass (where layers differ, their mean)."""
    family, hidden, query, width = shape.family, shape.hidden, shape.query, job.width
    full = not job.lora_rank
    # In bfloat16 each linear layer makes a copy of its input, and with dropout each adapter; else those that stand
    # beside each other share it. The inputs of attention's last matrix and of the MLP's are counted further down.
    apart = job.gpu or job.lora_dropout > 0
    beside = 2 if family.fused else 5 if family.gated else 4  # query, key, value, gate, up
    inputs = (beside if apart else 2) * hidden
    # A norm keeps its input and, where its weight is trained, the normed values, all in float32. LayerNorm: the input.
    norms = family.norms * hidden + (query + shape.key if family.qk_norm else 0)
    norms *= 2 if full and not family.biases else 1
    # Attention (SDPA) keeps query, key, value (these two repeated for all heads) and result, and a sum for each head;
    # and the mask of padded rows, tokens x tokens a row, which each layer makes anew.
    attention = (4 + family.rotary + (1 if apart and not full else 0)) * query + job.tokens
    result = (inputs + attention) * width + (norms + shape.heads) * FLOAT32
    if job.lora_rank:
        result += 7 * job.lora_rank * width  # what lies between the two matrices of each adapter
        # dropout remembers what it dropped: a byte a value on a GPU, a float32 on a CPU
        dropped = 5 * hidden + query + shape.mlp if job.lora_dropout else 0
        result += dropped * (1 if job.gpu else FLOAT32)
    # The MLP keeps gate, its activation, up and their product; without a gate what its activation keeps.
    dense = (2 + family.activation if family.gated else family.activation) * shape.mlp * width
    if not shape.experts:
        return result + dense
    # An expert gets its share of the tokens as a copy, and keeps its result; grouped, all of this stays float32.
    sparse = shape.active * (2 * hidden + 4 * shape.expert_mlp) * FLOAT32
    return result + (shape.dense_layers * dense + (shape.layers - shape.dense_layers) * sparse) // shape.layers


def layer_at_work(shape: Shape, job: Training) -> int:
    """Bytes that the backward pass of one layer adds: the gradients of gate, up and their product, and of its input."""
    wide = shape.active * shape.expert_mlp if shape.experts else shape.mlp
    return job.all_tokens * (3 * wide * job.width + 2 * shape.hidden * FLOAT32)


def tile_bytes(shape: Shape, job: Training) -> int:
    """Bytes of one of the LM head's tiles, of logits."""
    if job.gpu:
        return min(job.all_tokens, TILE_TOKENS) * TILE_VOCABULARY * job.width
    # here only what is written to takes memory
    return min(job.all_tokens, TILE_TOKENS_ON_CPU) * min(shape.vocabulary, TILE_VOCABULARY) * job.width


def lm_head(shape: Shape, job: Training) -> int:
    """Bytes of the LM head's backward pass, with the hidden states that go into it."""
    tiles = int(tile_bytes(shape, job) * (1 if job.gpu else TILES_ON_CPU))
    # the last norm's input and result, the copy that the head keeps, and its gradient
    hidden = 4 * job.all_tokens * shape.hidden * FLOAT32
    # the gradient of the head's weights is made apart before it is added to the one that is there
    weights = 0 if job.lora_rank else shape.vocabulary * shape.hidden * FLOAT32
    weights += TILE_VOCABULARY * shape.hidden * BFLOAT16 if job.gpu else 0  # a tile's weights in bfloat16
    return tiles + hidden + weights


def bfloat16_copies(shape: Shape, job: Training) -> int:
    """Bytes of the layers' float32 weights in bfloat16, which a forward pass makes of a model in float32."""
    return 0 if job.lora_rank or not job.gpu else parameters_of(shape).layers * BFLOAT16
