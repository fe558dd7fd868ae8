"""Short stories and simple lists."""

from __future__ import annotations

from models.spark.text.topic import Topic


def _story(subject: str, text: str, *unnamed: str) -> Topic:
    """Make a story that is asked for by what it is about, or by wordings that name nothing."""
    return Topic(
        f"story_{subject.replace(' ', '_')}",
        "",
        (
            f"Tell me a story about {subject}.",
            f"Tell a short story about {subject}.",
            f"Write a story about {subject}.",
            f"I want to hear a story about {subject}.",
            f"Do you know a story about {subject}?",
            f"A story about {subject}, please.",
            f"Make up a short story about {subject}.",
            f"Please tell me a story about {subject}.",
            f"I would like a story about {subject}.",
            f"Give me a story about {subject}.",
            f"Invent a story about {subject}.",
            f"Tell me something about {subject} as a story.",
            f"Have you a story about {subject}?",
            f"Can you write a story about {subject}?",
            f"Story about {subject}",
            *unnamed,
        ),
        (
            f"Can I hear a short story about {subject}?",
            f"Would you write me a story about {subject}?",
        ),
        text,
    )


def _list(subject: str, *items: str) -> Topic:
    """Make a list of plain words, one per line."""
    return Topic(
        f"list_{subject.replace(' ', '_')}",
        "",
        (
            f"List {subject}.",
            f"Give me a list of {subject}.",
            f"Name some {subject}.",
            f"Which {subject} do you know?",
            f"Tell me a few {subject}.",
            f"Can you list {subject}?",
            f"Write down some {subject}.",
            f"What {subject} are there?",
            f"Show me some {subject}.",
            f"Enumerate {subject}.",
            f"I need some {subject}.",
            f"Make a list of {subject}.",
            f"Please name {subject}.",
            f"Do you know any {subject}?",
            f"A list of {subject}, please.",
            f"Write a list of {subject}.",
        ),
        (f"Could you name a few {subject}?", f"I need a list of {subject}."),
        "\n".join(f"- {item}" for item in items),
    )


STORIES = (
    _story(
        "a fox",
        "A young fox could not sleep, so she counted the stars. At a hundred she met an owl who "
        "was counting, too. They counted together until morning, and both were friends.",
        "Tell me a story.",
        "Tell a story",
        "A short story, please.",
        "Do you know a story?",
        "Write a short story.",
        "I want to hear a story.",
    ),
    _story(
        "a laptop",
        "An old laptop lay in a drawer and felt useless. One day somebody started a worker on it. "
        "That evening it answered its first question, and its fan sang all night.",
    ),
    _story(
        "a cat",
        "A cat sat in the window and waited for the rain to stop. When the sun came out, she "
        "found a warm place on the roof. From there she watched the whole town wake up.",
    ),
    _story(
        "a robot",
        "A small robot watered the garden every day. Once a drought came, and the tank was empty. "
        "The robot carried water from the river, drop by drop, and the roses lived.",
    ),
    _story(
        "the sea",
        "A boy found a shell and heard the sea in it. He carried it far into the mountains. "
        "Whenever he was homesick, he listened, and the waves came to him.",
    ),
    _story(
        "a dragon",
        "A dragon lived on a hill and was afraid of the dark. So he lit a small fire every "
        "evening. The people in the valley used it to find their way home.",
    ),
    _story(
        "a girl",
        "A girl built a boat out of paper and put it on a stream. The boat passed three bridges "
        "and came to a boy. He wrote his name on it, and so they became friends.",
    ),
    _story(
        "a tree",
        "A tree stood alone on a field for a hundred years. One spring a bird planted a seed "
        "beside it. Now there are two trees, and the wind has somebody to talk to.",
    ),
    _story(
        "a spark",
        "A spark flew out of the fire and was proud to be so bright. It was small and soon gone. "
        "But a candle had caught it, and the candle lit the whole room.",
    ),
    _story(
        "winter",
        "Snow fell all night on the village. In the morning no road was left, so the children "
        "made one. By noon every door was open, and soup was on every table.",
    ),
)

LISTS = (
    _list("colours", "red", "green", "blue", "yellow"),
    _list("animals", "cat", "dog", "horse", "owl"),
    _list("fruits", "apple", "pear", "plum", "cherry"),
    _list("vegetables", "carrot", "onion", "potato", "bean"),
    _list("planets", "Mercury", "Venus", "Earth", "Mars"),
    _list("seasons", "spring", "summer", "autumn", "winter"),
    _list("drinks", "water", "tea", "coffee", "juice"),
    _list("birds", "owl", "robin", "crow", "swan"),
    _list("trees", "oak", "birch", "pine", "maple"),
    _list("shapes", "circle", "square", "triangle", "oval"),
    _list("tools", "hammer", "saw", "drill", "pliers"),
    _list("instruments", "piano", "violin", "flute", "drum"),
    _list("cities", "Oslo", "Rome", "Lima", "Tokyo"),
    _list("sports", "football", "tennis", "rowing", "judo"),
)
