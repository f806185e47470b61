"""`SupportApi`: support tickets with files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..core import validation
from ..core.errors import InvalidArgumentError
from ..core.http.multipart import Attachment, FileSource, multipart
from ..core.type_guards import is_sequence
from .errors import translate_errors
from .identity import Identity
from .models import Ticket
from .responses import decode_as
from .user_scope import UserScopedClient

Attachable: TypeAlias = FileSource | Attachment
"""A path, bytes, a file that is open for binary reading, or an `Attachment`, which adds a name and a content type."""

_MAX_FILES = 20


class SupportApi(UserScopedClient):
    """Support tickets."""

    async def create_support_ticket(
        self,
        subject: str,
        content: str,
        *,
        email: str | None = None,
        files: Sequence[Attachable] = (),
        idempotency_key: str | None = None,
    ) -> Ticket:
        """Create a support ticket for the user (`POST /api/v1/paywall/{id}/support/ticket`).

        A ticket with a session belongs to the session's user, whatever the email address. Retried only if the request
        certainly did not reach the service, or with an idempotency key.

        Args:
            subject: subject of the ticket, not empty.
            content: text of the ticket, not empty.
            email: address for the reply. Default: that of the identity, or else of the signed-in user.
            files: at most 20 paths, bytes, files open for binary reading, or `Attachment`s. They are streamed. Open
                files stay open. Names and content types are guessed unless an `Attachment` has them. Default: none.
            idempotency_key: your own key. With a key the call is retried. Default: None.

        Raises:
            PaywallError: `identity_required`: there is no email address.
            PaywallInvalidArgumentError: `invalid_argument`, e.g. a file that does not exist.
            PaywallApiError: the service's code.
        """
        principal = await self._principal()
        with translate_errors():
            address = Identity(email=email).email or principal.require_email()
            fields = {
                "subject": validation.text("subject", subject),
                "content": validation.text("content", content),
                "customer_email": address,
            }
            if not is_sequence(files):
                raise InvalidArgumentError("files", f"a list of files, not {type(files).__name__}")
            if len(files) > _MAX_FILES:
                raise InvalidArgumentError("files", f"at most {_MAX_FILES}")
        path = f"{self._endpoint.path}/support/ticket"
        if not files:
            request = self._json_post(path, fields, key=idempotency_key)
        else:
            request = self._request("POST", path)
            with translate_errors():
                self._with_optional_key(request, idempotency_key)
                files_by_name = {f"files[{i}]": file for i, file in enumerate(files)}
                upload = await multipart("files", files_by_name, fields, within=self._options.timeout.total)
            request.body, request.single_use = upload.payload, not upload.rewindable
            request.repeatable = request.repeatable and upload.rewindable
        self._with_key(request)
        return await self._send(request, decode_as(Ticket, field="ticket"), tokens=principal.tokens)
