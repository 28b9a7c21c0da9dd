import time

import django
from apps.flask_app import chunks
from apps.work import BACKGROUND_S, CHUNKS, STEP_S, Work
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from quantum_pulse.integrations import wsgi


def authenticated(get_response):
    def middleware(request):
        if request.path == "/dependency":
            with Work.DEPENDENCY:
                time.sleep(STEP_S)
        return get_response(request)

    return middleware


def plain(request, number=0):
    return HttpResponse("plain")


def step(request, **parameters):
    with Work.STEP:
        time.sleep(STEP_S)
    return HttpResponse("step")


def stream(request):
    return StreamingHttpResponse(chunks(CHUNKS))


def endless(request):
    return StreamingHttpResponse(chunks(1_000_000))


class Followed(HttpResponse):
    """A response that is followed by some work."""

    def close(self):
        super().close()
        with Work.BACKGROUND:
            time.sleep(BACKGROUND_S)


def background(request):
    return Followed("soon")


def error(request):
    raise ValueError("it fails")


def slow(request):
    time.sleep(0.5)
    return HttpResponse("slow")


items = [path("<str:item>", step)]
shop = [path("items/", include(items))]
urlpatterns = [
    re_path(r"^plain/(?P<number>[0-9]{1,9})$", plain),
    path("dependency", plain),
    path("step", step),
    path("thread", step),
    path("stream", stream),
    path("endless", endless),
    path("background", background),
    path("error", error),
    path("slow", slow),
    path("shop/<str:tenant>/", include(shop)),
]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a test",
    MIDDLEWARE=[f"{__name__}.authenticated"],
    LOGGING_CONFIG=None,
)
django.setup()
app = wsgi.instrument(get_wsgi_application())
