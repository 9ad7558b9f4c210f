"""A job that is asked over HTTP, behind the one interface of models; and what each of its answers cost.

Texts are asked several at once. Every answer is kept as it comes (`paid`), so a run that was stopped, killed or stopped
by its spending limit goes on where it was, and the same question is never asked twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from taskmix.config.schema import ApiModel
from taskmix.modeling.answers import Answer, Consulted, Receipt, TaskHead, known_tasks
from taskmix.modeling.api.endpoint import FAULTS_OF_THE_TEXT, Attempts, Endpoint, Refused, key_of
from taskmix.modeling.api.paid import PaidAnswers, request_hash
from taskmix.modeling.api.reading import read_answers
from taskmix.modeling.api.reply import Reply
from taskmix.modeling.api.request import Dialect, Question, first_dialect, make_body, make_question, room_for_text
from taskmix.modeling.api.spending import Spending, most_usd
from taskmix.modeling.bundle import BundleCard
from taskmix.modeling.prompts import PromptSet, read_prompts

Key = tuple[int, str]
"""Of a question: which of the job's prompts, and the text."""


class ApiAnswerer:
    """Implements `modeling.answers.Consultant`; safe to use from several threads.

    Args:
        settings: the endpoint, and how it is asked.
        heads: the tasks.
        prompts: how they are asked, with the examples.
        paid: the answers there are already, and where new ones are kept.
        job: its name, for errors.

    Raises:
        ApiError: the key is not in the environment.
    """

    def __init__(
        self,
        settings: ApiModel,
        *,
        heads: Mapping[str, TaskHead],
        prompts: PromptSet,
        paid: PaidAnswers,
        job: str,
    ) -> None:
        self.heads = heads
        self.settings = settings
        self.paid = paid
        limit_usd = settings.spending_limit_usd if paid.keeps else None
        self.spending = Spending(limit_usd=limit_usd, spent_usd=paid.spent_usd, limited=f"job {job}")
        self._prompts = prompts.prompts
        self._rooms = [room_for_text(prompt, settings=settings) for prompt in self._prompts]
        self._given: dict[str, Reply] = {}
        self._endpoint = Endpoint(settings, key=key_of(settings))
        self._dialect, self._lock = first_dialect(settings), threading.Lock()

    @property
    def concurrency(self) -> int:
        """See `modeling.answers.Consultant`."""
        return self.settings.concurrency

    def predict(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[dict[str, Answer]]:
        """See `modeling.answers.Model`.

        Raises:
            UnknownTask: a task is not one of `heads`.
            SpendingLimit: one more request could cross the spending limit.
            ApiError: the endpoint did not answer.
        """
        return [consulted.answers for consulted in self.consult(texts, tasks=tasks)]

    def consult(self, texts: Sequence[str], *, tasks: Sequence[str] | None = None) -> list[Consulted]:
        """Answer tasks for texts as `predict` does, and say what it took; what is paid for is not asked again."""
        asked = known_tasks(tasks, heads=self.heads)
        chosen = [index for index, prompt in enumerate(self._prompts) if set(prompt.tasks) & set(asked)]
        questions = {
            (index, text): make_question(self._prompts[index], text, room=self._rooms[index])
            for text in dict.fromkeys(texts)
            for index in chosen
        }
        replies = self._ask_all(questions)
        consulted = []
        for text in texts:
            answers: dict[str, Answer] = {}
            for index in chosen:
                answers |= read_answers(replies[index, text], questions[index, text], heads=self.heads)
            given = [replies[index, text] for index in chosen]
            seconds = [reply.seconds for reply in given]
            usd = sum(reply.usd for reply in given)
            consulted.append(Consulted({task: answers[task] for task in asked}, max(seconds), sum(seconds), usd))
        return consulted

    def receipt(self) -> Receipt:
        """See `modeling.answers.Consultant`."""
        given = [reply for reply in self._given.values() if reply.finish_reason not in FAULTS_OF_THE_TEXT]
        return Receipt(
            requests=len(given),
            input_tokens=sum(reply.input_tokens or 0 for reply in given),
            output_tokens=sum(reply.output_tokens or 0 for reply in given),
            usd=math.fsum(reply.usd for reply in given),
            unanswered_usd=math.fsum(self.paid.unanswered_usd(request) for request in self._given),
        )

    def _ask_all(self, questions: Mapping[Key, Question]) -> dict[Key, Reply]:
        """Every question's reply; the first error stops the questions that are not yet asked, and is raised."""
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="api") as pool:
            futures = {key: pool.submit(self._ask, question) for key, question in questions.items()}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        errors = [error for future in futures.values() if not future.cancelled() and (error := future.exception())]
        if errors:
            raise errors[0]
        return {key: future.result() for key, future in futures.items()}

    def _ask(self, question: Question) -> Reply:
        """The reply to one question: paid for already, or asked in the widest dialect that the endpoint takes.

        A question goes by the hash of its widest request, so that what an endpoint refused need not be found out again
        to know what was paid for.
        """
        request = request_hash(self.settings.base_url, self._body(question, first_dialect(self.settings)))
        self._given[request] = reply = self.paid.reply(request) or self._buy(question, request)
        return reply

    def _buy(self, question: Question, request: str) -> Reply:
        while True:
            dialect = self._dialect
            body = self._body(question, dialect)
            most = most_usd(self.settings, body=body)
            attempts = Attempts(request, most_usd=most, spending=self.spending, paid=self.paid)
            try:
                return self._endpoint.ask(body, attempts=attempts)
            except Refused as refused:
                if refused.code in FAULTS_OF_THE_TEXT:
                    return self._unanswerable(request, refused)
                narrower = dialect.without(refused.message, settings=self.settings)
                if narrower is None:
                    raise self._endpoint.rejection(refused) from None
                with self._lock:
                    self._dialect = narrower if self._dialect == dialect else self._dialect

    def _body(self, question: Question, dialect: Dialect) -> dict[str, Any]:
        return make_body(question, settings=self.settings, dialect=dialect, heads=self.heads)

    def _unanswerable(self, request: str, refused: Refused) -> Reply:
        """The endpoint will not answer this text: an invalid answer that cost nothing."""
        reply = Reply(content=None, finish_reason=refused.code)
        self.paid.keep(request, reply, unanswered_usd=self.paid.unanswered_usd(request))
        return reply


def load_api(folder: Path, card: BundleCard, *, answers: str | None = None, keep: bool = False) -> ApiAnswerer:
    """The API model in a bundle's folder.

    Args:
        folder: of the bundle.
        card: the bundle's.
        answers: URI of the folder with the job's paid answers; null looks for none.
        keep: whether new answers are kept there; a server's are not, since they are its users'.

    Raises:
        ApiError: the key is not in the environment.
        BundleError: the prompts are missing.
    """
    assert isinstance(card.job.model, ApiModel)
    prompts = read_prompts(folder)
    paid = PaidAnswers(answers, keeps=keep)
    return ApiAnswerer(card.job.model, heads=card.task_heads, prompts=prompts, paid=paid, job=card.job.name)
