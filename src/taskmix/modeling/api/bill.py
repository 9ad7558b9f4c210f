"""What asking will cost, told before anything is asked: the requests themselves are made and counted, none is sent.

Tokens are estimated from characters, since endpoints' tokenizers are not at hand: four characters a token
(`prompts.CHARACTERS_PER_TOKEN`). Beside it stands the most
that it can cost, which needs no rule: no token is less than a byte, and answers are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskmix.config.schema import ApiModel
from taskmix.modeling.answers import TaskHead
from taskmix.modeling.api.paid import PaidAnswers, request_hash
from taskmix.modeling.api.request import first_dialect, make_body, make_question, room_for_text
from taskmix.modeling.api.spending import most_usd, usd_of
from taskmix.modeling.api.structured import write_structured
from taskmix.modeling.prompts import CHARACTERS_PER_TOKEN, Shot, TaskPrompt


@dataclass(frozen=True)
class Bill:
    """What a number of questions come to.

    Attributes:
        requests: questions still to be asked; a text that stands twice is asked once.
        paid: questions whose answers are on storage.
        input_tokens: of the requests' prompts, estimated.
        output_tokens: of their answers, estimated by the length of right ones.
        usd: by these estimates.
        most_usd: the most that the requests can cost, each answered at the first attempt.
    """

    requests: int = 0
    paid: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    usd: float = 0.0
    most_usd: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        """Both together."""
        return Bill(
            self.requests + other.requests,
            self.paid + other.paid,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
            self.most_usd + other.most_usd,
        )


def estimate_bill(
    prompt: TaskPrompt,
    *,
    texts: Sequence[str],
    answered: Sequence[Shot],
    settings: ApiModel,
    heads: Mapping[str, TaskHead],
    paid: PaidAnswers,
) -> Bill:
    """What asking one prompt of `texts` comes to.

    Args:
        prompt: with its examples.
        texts: of the test split.
        answered: texts with right answers, for the answers' length.
        settings: the endpoint's prices and bounds.
        heads: the job's tasks.
        paid: the answers there are already.
    """
    dialect = first_dialect(settings)
    write = (lambda shot: write_structured(shot, tasks=prompt.tasks)) if dialect.structured else prompt.answer
    answer_tokens = sum(len(write(shot)) for shot in answered) / max(len(answered), 1) / CHARACTERS_PER_TOKEN
    answer_tokens = min(answer_tokens, settings.max_output_tokens)
    requests, bought, characters, most = 0, 0, 0, 0.0
    room = room_for_text(prompt, settings=settings)
    empty = make_body(make_question(prompt, "", room=room), settings=settings, dialect=dialect, heads=heads)
    around = sum(len(message["content"]) for message in empty["messages"]) + len(
        json.dumps(empty.get("response_format", ""))
    )
    around_most = most_usd(settings, body=empty)
    for text in dict.fromkeys(texts):
        question = make_question(prompt, text, room=room)
        if paid.all():
            body = make_body(question, settings=settings, dialect=dialect, heads=heads)
            if paid.reply(request_hash(settings.base_url, body)):
                bought += 1
                continue
        requests += 1
        characters += around + len(question.shown.text)
        size = len(json.dumps(question.shown.text, ensure_ascii=False).encode())
        most += around_most + usd_of(settings.usd_per_million_tokens, input_tokens=size, output_tokens=0)
    input_tokens, output_tokens = characters / CHARACTERS_PER_TOKEN, requests * answer_tokens
    usd = usd_of(settings.usd_per_million_tokens, input_tokens=input_tokens, output_tokens=output_tokens)
    return Bill(requests, bought, input_tokens, output_tokens, usd, most)
