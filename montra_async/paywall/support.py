"""Support tickets, with files."""

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
from .responses import decode
from .user_scope import UserScopedClient, address_of

Attachable: TypeAlias = FileSource | Attachment
"""A path, bytes, an object open for binary reading, or an `Attachment` that gives such a thing a name and a type."""


_MOST_FILES = 20


class SupportCalls(UserScopedClient):
    async def create_support_ticket(
        self,
        subject: str,
        content: str,
        *,
        email: str | None = None,
        files: Sequence[Attachable] = (),
        idempotency_key: str | None = None,
    ) -> Ticket:
        """Open a ticket for the user (`POST /api/v1/paywall/{id}/support/ticket`).

        Where somebody is signed in, the ticket is theirs, whatever the address.

        Sent once: it is tried again only when it surely did not reach the service, unless you give a key.

        Args:
            subject: in a line.
            content: in full.
            email: who is to be answered; the identity's by default, else that of the user who is signed in.
            files: paths, bytes, open files, or `Attachment`s. Streamed from disk, never read into memory whole; open
                objects are left open. Names and types are guessed unless an `Attachment` says them.
            idempotency_key: makes the call one that is retried.

        Raises:
            PaywallError: `identity_required` without any address; `invalid_argument`, e.g. no such file.
        """
        actor = await self._actor()
        with translate_errors():
            address = Identity(email=email).email or address_of(actor)
            fields = {
                "subject": validation.text("subject", subject),
                "content": validation.text("content", content),
                "customer_email": address,
            }
            if not is_sequence(files):
                raise InvalidArgumentError("files", f"a list of files, not {type(files).__name__}")
            if len(files) > _MOST_FILES:
                raise InvalidArgumentError("files", f"at most {_MOST_FILES}")
        path = f"{self._endpoint.path}/support/ticket"
        if not files:
            request = self._json_post(path, fields, key=idempotency_key)
        else:
            request = self._request("POST", path)
            with translate_errors():
                self._keyed(request, idempotency_key)
                named = {f"files[{i}]": one for i, one in enumerate(files)}
                upload = await multipart("files", named, fields, within=self._options.timeout.total)
            request.body, request.single_use = upload.payload, not upload.rewindable
            request.repeatable = request.repeatable and upload.rewindable
        self._with_key(request)
        return await self._send(
            request, lambda response, request: decode(response, request, Ticket, within="ticket"), tokens=actor.tokens
        )
