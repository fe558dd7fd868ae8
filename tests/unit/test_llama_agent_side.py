"""What the agent's process must not load."""

import subprocess
import sys

HEAVY = ("llama_cpp", "numpy", "jinja2", "gguf")


def test_the_agent_side_stays_light() -> None:
    """Importing the engine as the agent sees it loads neither llama.cpp nor its company."""
    script = f"import sys, workers.llama.engine; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
