"""Celery: prefork workers record the usage of their tasks into one outbox; one process sends it.

CELERY_BROKER_URL=redis://localhost MONTRA_API_KEY=sk_... celery -A celery_usage worker --concurrency 8
MONTRA_API_KEY=sk_... montra-usage      # beside it, as a service of its own

Both use the file MONTRA_OUTBOX, or the one of their user. A worker that is killed has lost nothing that it recorded.
"""

from celery import Celery, Task

from montra_sync import Montra
from montra_sync.usage import OutboxError, UsageReporter

app = Celery("answers")
app.config_from_envvar("CELERY_CONFIG_MODULE", silent=True)

# Created in the parent, used in the forked workers: each has its own thread that writes, and none that sends.
usage = UsageReporter(Montra(), send=False)


@app.task(bind=True, acks_late=True, max_retries=8)
def answer(self: "Task[[str, str], str]", customer_id: str, prompt: str) -> str:
    """Ask the model. The task's id is the idempotency key: a task that is executed twice is counted once."""
    text = model(prompt)
    try:
        usage.record(
            customer_id, "api-tokens", amount=len(text.split()), idempotency_key=f"answer-{self.request.id}"
        )  # on disk when it returns, in less than a millisecond or two
    except OutboxError:  # the disk is full, the file is locked: nothing was recorded
        raise self.retry(countdown=2**self.request.retries) from None
    return text


def model(prompt: str) -> str:
    return prompt.upper()
