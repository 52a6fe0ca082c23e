"""Chromium for the tests of pages, and what a user does in it."""

import base64
import contextlib
import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextlib.contextmanager
def launched():
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address, size=(1280, 860)):
    """A page, loaded; at its end nothing was asked of another server, and nothing went wrong in its script."""
    from playwright.sync_api import expect

    expect.set_options(timeout=10_000)
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)))
    context.set_default_timeout(10_000)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto(address)
    expect(page.locator("#ingredients tr")).not_to_have_count(0)
    yield page
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    refused = "the server responded with a status of 4"  # what the browser says of a request that was refused
    assert [text for text in wrong if refused not in text] == []
    context.close()


def drop(page, content, name, kind):
    """What the browser does when a file is dropped on the page."""
    page.evaluate(
        """([content, name, type]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, {type}));
            for (const event of ["dragenter", "dragover", "drop"])
                document.querySelector("main").dispatchEvent(
                    new DragEvent(event, {dataTransfer, bubbles: true, cancelable: true}));
        }""",
        [base64.b64encode(content).decode(), name, kind],
    )


def first(page):
    """The nearest of what was found."""
    return page.locator("#results > li").first
