"""Cut a byte-level BPE tokenizer down to the pieces a corpus uses, keeping its segmentation of that corpus."""

import json
from collections import Counter
from collections.abc import Iterable


def trim_tokenizer(text: str, sentences: Iterable[str], size: int) -> tuple[str, list[int]]:
    """Cut a tokenizer down to at most `size` pieces -> (smaller tokenizer.json, old id of each new id).

    text: tokenizer.json.
    sentences: the corpus.
    size: pieces of the result.

    Token 0 (start of text), every single byte, and the most frequent pieces are kept, with all pieces from which they
    are merged. Words outside the corpus are split into smaller pieces. ValueError where `size` is too small for the
    bytes."""
    from tokenizers import Tokenizer

    full = json.loads(text)
    vocabulary: dict[str, int] = full["model"]["vocab"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in full["model"]["merges"]]
    parents = {}
    for a, b in merges:
        parents.setdefault(a + b, (a, b))
    names = {i: piece for piece, i in vocabulary.items()}
    kept = {names[0]} | {piece for piece in vocabulary if len(piece) == 1}
    if len(kept) > size:
        raise ValueError(f"{size} pieces cannot hold the {len(kept)} bytes and the start of text; allow more")
    tokenizer = Tokenizer.from_str(text)
    counts = Counter(i for s in sentences for i in tokenizer.encode(s, add_special_tokens=False).ids)
    for index, _ in counts.most_common():
        needed = _closure(names[index], parents)
        if len(kept | needed) <= size:
            kept |= needed
    order = sorted(kept, key=vocabulary.__getitem__)
    full["model"]["vocab"] = {piece: i for i, piece in enumerate(order)}
    full["model"]["merges"] = [list(m) for m in merges if {m[0], m[1], m[0] + m[1]} <= kept]
    full["added_tokens"] = [dict(full["added_tokens"][0], id=0)] if full["added_tokens"] else []
    return json.dumps(full, ensure_ascii=False, separators=(",", ":")), [vocabulary[piece] for piece in order]


def _closure(piece: str, parents: dict[str, tuple[str, str]]) -> set[str]:
    """Return the set of a piece and all pieces from which it is merged. parents: {piece: the two pieces it is merged
    from}."""
    found, stack = set(), [piece]
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            stack.extend(parents.get(current, ()))
    return found
