"""An AWS Lambda function that counts usage from a queue (SQS). Needs MONTRA_API_KEY in its environment.

The client is made once, outside the handler, and reused by the invocations that the same process gets. Connections that
died while the process was frozen are replaced without a word.
"""

from typing import Any

from montra_sync import Montra, MontraError, Timeout

# Give up well before Lambda does, so that the batch can report what failed.
montra = Montra(timeout=Timeout(total=8, connect=2), max_attempts=3)


def handler(event: dict[str, Any], context: object) -> dict[str, list[dict[str, str]]]:
    """Records that failed are delivered again; the message id as the key makes that harmless."""
    failed: list[dict[str, str]] = []
    for record in event["Records"]:
        usage = record["body"]
        try:
            montra.report_usage(
                customer_id=usage["customer_id"],
                meter_slug=usage["meter_slug"],
                amount=usage["amount"],
                idempotency_key=record["messageId"],
            )
        except MontraError as error:
            print(f"{record['messageId']}: {error}")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
