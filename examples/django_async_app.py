"""Django in one file, asynchronous views: guards, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... \
    SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    uvicorn --lifespan off django_async_app:application
"""

import json
import os
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

if len(SESSION_SECRET := os.environ["SESSION_SECRET"]) < 32:  # whoever guesses it signs sessions of any customer
    raise ValueError('SESSION_SECRET is too short. Make one: python -c "import secrets; print(secrets.token_hex())"')

settings.configure(
    SECRET_KEY=SESSION_SECRET,
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    # A signed cookie, which visitors can't write. In a project with users, take `request.user` instead.
    # With HTTPS, add SESSION_COOKIE_SECURE=True.
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MONTRA={"timeout": 20},  # the key and the address come from the environment
)
application = get_asgi_application()

from montra_async import ConflictError, InvalidArgumentError, InvalidRequestError  # noqa: E402
from montra_async.frameworks.django import get_client, require_feature, require_quota, webhook_view  # noqa: E402
from montra_async.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver  # noqa: E402

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers: list[str] = []  # your database


def customer_id(request: HttpRequest) -> str:
    """Return the session's Montra customer, which only this server can write. Without one, the KeyError is a 401."""
    return str(request.session["customer_id"])


def confirmed_email(form: dict[str, Any]) -> str:
    """Return the visitor's address. Yours: only if they have sent back the code that you have mailed to it.

    This example sends no mail, so it takes any address. A payment belongs to the customer who has the payer's address:
    whoever signs up with another's gets what the other pays for.
    """
    email: str = form["email"]
    return email


async def sign_up(request: HttpRequest) -> HttpResponseBase:
    """Create a customer and begin their session. Store the id in your table of users: your sign-in reads it there.

    Only JSON is read. A page of another site can't send it; with a form, it could sign its visitors in as it likes.
    """
    if request.content_type != "application/json":
        return HttpResponse(status=415)
    try:
        form = json.loads(request.body)
        name, email = form["name"], confirmed_email(form)
    except (ValueError, LookupError, TypeError, RecursionError):
        return HttpResponse("send a name and an email address", status=400)
    try:
        customer = await get_client().create_customer(name=name, email=email)
    except ConflictError:
        return HttpResponse("this address has an account: sign in", status=409)
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        return HttpResponse("check your name and your email address", status=422)
    request.session["customer_id"] = customer.id
    return HttpResponse(status=201)


# Asked by programs, which have no token: the type of the content protects it. Before Django 5.0, `csrf_exempt` itself
# is for synchronous views.
vars(sign_up)["csrf_exempt"] = True


@require_feature("sso", customer=customer_id)
async def reports(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse({"report": "for those who have single sign-on"})


@require_quota("api-tokens", customer=customer_id)
@csrf_exempt  # asked by programs, not by forms; below the guard, since Django 4.2's own is for synchronous views
async def answers(request: HttpRequest) -> HttpResponseBase:
    await get_client().report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return JsonResponse({"answer": "42"})


@receiver.on(CheckoutCompleted)
async def paid(event: CheckoutCompleted) -> None:
    buyers.append(event.data.customer_email or "")


async def list_buyers(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse(buyers, safe=False)


urlpatterns = [
    path("sign-up", sign_up),
    path("reports", reports),
    path("answers", answers),
    path("buyers", list_buyers),
    path("webhooks/montra", webhook_view(receiver)),
]
