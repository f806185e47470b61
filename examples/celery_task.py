"""A Celery task that refunds a payment once, however often it is retried.

CELERY_BROKER_URL=redis://localhost MONTRA_API_KEY=sk_... celery -A celery_task worker
"""

from decimal import Decimal

from celery import Celery, Task

from montra_sync import ConflictError, Montra, NetworkError, RateLimitError, ServerError

app = Celery("billing")
app.config_from_envvar("CELERY_CONFIG_MODULE", silent=True)
montra = Montra()  # created in the parent, used in the forked workers: each opens its own connections


@app.task(bind=True, acks_late=True, max_retries=8)
def refund(self: "Task[[str, str], str]", transaction_id: str, amount: str) -> str:
    """Refund a payment. The task's id is the idempotency key: a retried task never refunds twice."""
    try:
        made = montra.create_refund(
            transaction_id=transaction_id, amount=Decimal(amount), idempotency_key=f"refund-{self.request.id}"
        )
    except ConflictError as error:
        return f"refused: {error.code}"
    except RateLimitError as error:
        raise self.retry(countdown=error.retry_after or 10) from None
    except (NetworkError, ServerError):
        raise self.retry(countdown=2**self.request.retries) from None
    return made.id
