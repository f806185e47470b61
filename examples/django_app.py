"""Django in one file, synchronous views: guards, usage reported, payments received by webhooks.

MONTRA_BASE_URL=... MONTRA_API_KEY=... MONTRA_WEBHOOK_SECRET=whsec_... SESSION_SECRET=$(openssl rand -hex 32) \
    gunicorn -w 2 django_app:application
"""

import json
import os
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY=os.environ["SESSION_SECRET"],
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
application = get_wsgi_application()

from montra_sync import ConflictError, InvalidArgumentError, InvalidRequestError  # noqa: E402
from montra_sync.frameworks.django import get_client, require_feature, require_quota, webhook_view  # noqa: E402
from montra_sync.webhooks import CheckoutCompleted, SqliteStore, WebhookReceiver  # noqa: E402

receiver = WebhookReceiver(
    os.environ["MONTRA_WEBHOOK_SECRET"], store=SqliteStore(os.environ.get("EVENTS_DB", "events.db"))
)
buyers = Path(os.environ.get("BUYERS_FILE", "buyers.txt"))  # your database: shared by all workers


def customer_id(request: HttpRequest) -> str:
    """Return the session's Montra customer, which only this server can write. Without one, the KeyError is a 401."""
    return str(request.session["customer_id"])


@csrf_exempt  # asked by programs, not by forms; pages of other sites can't send the cookie (SameSite=Lax)
def sign_up(request: HttpRequest) -> HttpResponse:
    """Create a customer, once the address is confirmed: payments with this address will be theirs.

    Store the id in your table of users. Your sign-in reads it there, after the password.
    """
    form = json.loads(request.body)
    try:
        customer = get_client().create_customer(name=form["name"], email=form["email"])
    except ConflictError:
        return HttpResponse("this address has an account: sign in", status=409)
    except (InvalidArgumentError, InvalidRequestError):  # a typo of the user's
        return HttpResponse("check your name and your email address", status=422)
    request.session["customer_id"] = customer.id
    return HttpResponse(status=201)


@require_feature("sso", customer=customer_id)
def reports(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"report": "for those who have single sign-on"})


@csrf_exempt  # asked by programs, not by forms
@require_quota("api-tokens", customer=customer_id)
def answers(request: HttpRequest) -> JsonResponse:
    get_client().report_usage(customer_id=customer_id(request), meter_slug="api-tokens", amount=5)
    return JsonResponse({"answer": "42"})


@receiver.on(CheckoutCompleted)
def paid(event: CheckoutCompleted) -> None:
    with buyers.open("a") as file:
        file.write(f"{event.data.customer_email}\n")


def list_buyers(_: HttpRequest) -> JsonResponse:
    return JsonResponse(buyers.read_text().split() if buyers.exists() else [], safe=False)


urlpatterns = [
    path("sign-up", sign_up),
    path("reports", reports),
    path("answers", answers),
    path("buyers", list_buyers),
    path("webhooks/montra", webhook_view(receiver)),
]
