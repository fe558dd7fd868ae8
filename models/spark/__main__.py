"""One command from nothing to a scored model: `python -m models.spark all`."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent


def _train(arguments: argparse.Namespace) -> None:
    from models.spark import tokenizer
    from models.spark.model import Shape
    from models.spark.plan import Plan
    from models.spark.train import Trainer

    plan = Plan(steps=arguments.steps) if arguments.steps else Plan()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "tokenizer.json"
    if not vocabulary.exists():
        tokenizer.train(vocabulary, seed=plan.seed)
    trainer = Trainer(plan, Shape(), folder, threads=arguments.threads)
    trainer.resume()
    trainer.run(tokenizer.load(vocabulary))


def _export(arguments: argparse.Namespace) -> None:
    from models.spark.export import export

    size = export(arguments.folder, arguments.model)
    print(f"{arguments.model}: {size / 1e6:.2f} MB")


def _verify(arguments: argparse.Namespace) -> None:
    from models.spark.verify import verify

    verify(arguments.folder, arguments.model)


def _evaluate(arguments: argparse.Namespace) -> None:
    from models.spark.evaluate import evaluate

    evaluate(arguments.model, show_wrong=arguments.show_wrong)


def _all(arguments: argparse.Namespace) -> None:
    for part in (_train, _export, _verify, _evaluate):
        part(arguments)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.spark", description=__doc__)
    parts = {
        "train": _train,
        "export": _export,
        "verify": _verify,
        "evaluate": _evaluate,
        "all": _all,
    }
    parser.add_argument("part", choices=parts)
    parser.add_argument("--folder", type=Path, default=HERE / "run", help="checkpoints")
    parser.add_argument("--model", type=Path, default=HERE / "spark.gguf", help="the finished file")
    parser.add_argument("--steps", type=int, help="stop earlier, for a trial")
    parser.add_argument("--threads", type=int, default=2, help="at most")
    parser.add_argument("--show-wrong", action="store_true", help="print each wrong answer")
    arguments = parser.parse_args()
    parts[arguments.part](arguments)


if __name__ == "__main__":
    main()
