"""A Django project that gives up after a second."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], MONTRA={"timeout": 1})
application = get_wsgi_application()

from montra_sync.frameworks.django import require_feature  # noqa: E402


@require_feature("sso", customer=lambda request: request.headers["X-Customer-Id"])
def reports(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"report": "yes"})


urlpatterns = [path("reports", reports)]
