"""What models write: instructions, candidates, judgements, evaluations; and the pairs that come of them."""
