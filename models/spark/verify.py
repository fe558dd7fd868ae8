"""Does llama.cpp compute what was trained? The same token ids, and logits that agree."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
from llama_cpp import Llama

from models.spark import tokenizer
from models.spark.chat import render
from models.spark.corpus import conversation
from models.spark.model import Shape, Spark

_NUM_TEXTS = 1000
_NUM_COMPARED = 4


def verify(folder: Path, model: Path) -> None:
    """Raise if the tokenizers differ; print how far the logits are apart (Q8_0 rounds a little)."""
    own = tokenizer.load(folder / "tokenizer.json")
    llama = Llama(str(model), n_ctx=2048, n_threads=1, verbose=False, logits_all=True)
    random = Random(99)
    texts = [render(conversation(random)) for _ in range(_NUM_TEXTS)]
    texts.append("Ünïcödé 漢字 🙂 tabs\tand  two spaces\n\n\nlines don't 12345 <x> a_b-c\r\n")
    for text in texts:
        theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
        if theirs != own.encode(text).ids:
            raise AssertionError(f"cut differently: {text!r}")
    print(f"{len(texts)} texts are cut into the same tokens")
    spark = Spark(Shape())
    spark.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True)["model"])
    for text in sorted(texts, key=len)[-_NUM_COMPARED:]:
        _compare(spark, llama, own.encode(text).ids[:2048])


def _compare(spark: Spark, llama: Llama, ids: list[int]) -> None:
    with torch.no_grad():
        ours = spark(torch.tensor([ids]))[0].numpy()
    llama.reset()
    llama.eval(ids)
    theirs = np.array(llama.scores[: len(ids)])
    same = float((ours.argmax(1) == theirs.argmax(1)).mean())
    print(
        f"{len(ids)} tokens: mean difference {np.abs(ours - theirs).mean():.4f} of a spread of "
        f"{ours.std():.2f}, same best token {100 * same:.1f} %"
    )
