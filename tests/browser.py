"""The browser that pages are tested in: any Chromium on the path. ``python -m tests.browser`` says which."""

import contextlib
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable():
    """Path of the browser. Raises FileNotFoundError that says what to install."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"no browser to test in: none of {', '.join(NAMES)} is on the path; install chromium")
    return found


def lack():
    """What is missing for tests in a browser, empty where nothing is."""
    try:
        executable()
    except FileNotFoundError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def pages(offline=True, **options):
    """A function that opens a page, each by itself, without a network; `options` are those of a playwright context."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox does not work for root, and a page of ours is all that is opened.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield lambda **more: browser.new_context(**{"offline": offline, **options, **more}).new_page()
        finally:
            browser.close()


if __name__ == "__main__":
    try:
        print(executable())
    except FileNotFoundError as error:
        sys.exit(str(error))
