"""Thoughts that a model writes before its answer, between <think> and </think>: no part of what it says. Pure.

They are cut off where a reply leaves the engine, so that nothing behind it sees them: not the judge, whose view of an
answer they would colour; not the parser, which would find the scores that a judge only considers; and not the pairs,
which would teach them as a part of the answer. Prompts and training tell models not to think aloud (`CHAT_OPTIONS`);
some do all the same.
"""

from srlm.engine import Sample

TAGS = OPEN, CLOSE = "<think>", "</think>"


def said(text: str, tokens: int, finish: str) -> Sample:
    """A reply without the thoughts that it begins with; `tokens` counts them, too.

    With thoughts that are never closed nothing is said yet: such a reply is "unfinished" where it ended by itself.
    """
    text = text.strip()
    while text.startswith(OPEN):
        _, closed, text = text.partition(CLOSE)
        if not closed:
            return Sample("", tokens, "unfinished" if finish == "stop" else finish)
        text = text.strip()
    return Sample(text, tokens, finish)
