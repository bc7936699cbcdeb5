"""The page in a real browser, with real mouse and keys."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.browser import Browser
from helpers.served import Client, picture

MASK = "state.mask && [...state.mask].reduce((sum, each) => sum + each, 0)"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile", width=1200, height=800) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, client: Client, tmp_path: Path) -> Browser:
    """The page with a picture of 90 x 60 pixels, and true masks to come."""
    browser.visit(f"http://127.0.0.1:{client.port}/")
    (tmp_path / "picture.png").write_bytes(picture()[1])
    choose(browser, "#file", tmp_path / "picture.png")
    browser.wait("state.picture && state.width === 90 && waiting === 0")
    return browser


def choose(browser: Browser, selector: str, path: Path) -> None:
    """Choose a file in an input element, as a user does in a dialogue."""
    document = browser.tell("DOM.getDocument")["root"]["nodeId"]
    node = browser.tell("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
    browser.tell("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def on_screen(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Where a point of the picture is seen."""
    left, top = browser.value(
        f"(() => {{ const edge = canvas.getBoundingClientRect();"
        f"return [edge.left + view.x + {x} * view.scale, edge.top + view.y + {y} * view.scale]; }})()"
    )
    return left, top


def drag_box(browser: Browser, x0: float, y0: float, x1: float, y1: float) -> None:
    browser.drag(on_screen(browser, x0, y0), on_screen(browser, x1, y1))
    browser.wait("waiting === 0 && state.mask !== null")


def click(browser: Browser, x: float, y: float, button: str = "left") -> None:
    before = browser.value("state.clicks.length")
    browser.click_at(*on_screen(browser, x, y), button=button)
    browser.wait(f"waiting === 0 && state.clicks.length === {before + 1}")


def at(browser: Browser, x: int, y: int) -> int:
    """The mask's value at a pixel."""
    return browser.value(f"state.mask[{y} * state.width + {x}]")


def test_box_clicks_undo_and_redo(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    x0, y0, x1, y1 = page.value("box")
    np.testing.assert_allclose([x0, y0, x1, y1], [10, 5, 60, 40], atol=0.2)
    first = page.value(MASK)
    for x, y in ((30, 20), (75, 50)):
        inside = at(page, x, y)
        click(page, x + 0.5, y + 0.5, "right" if inside else "left")
        assert at(page, x, y) == 1 - inside  # the click turned its pixel
    second = page.value(MASK)
    page.click("#undo")
    page.wait("waiting === 0 && state.clicks.length === 1")
    page.click("#undo")
    page.wait("waiting === 0 && state.clicks.length === 0")
    assert page.value(MASK) == first and page.value("$('undo').disabled") is True
    page.key("y")
    page.wait("waiting === 0 && state.clicks.length === 1")
    page.key("y")
    page.wait("waiting === 0 && state.clicks.length === 2")
    assert page.value(MASK) == second
    added = page.value("state.clicks.filter((each) => each[2]).length")
    assert page.texts("#counts") == [f"{added} added, {2 - added} taken away"]
    assert not page.complaints


def test_what_is_drawn_is_the_mask(page: Browser, tmp_path: Path) -> None:
    drag_box(page, 10, 5, 60, 40)
    page.value("$('opacity').value = 100, $('opacity').dispatchEvent(new Event('input')), 0")
    page.value("$('outline').click(), box = null, draw(), 0")
    page.screenshot(tmp_path / "page.png")
    shot = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    ys, xs = np.mgrid[4:56:4, 4:86:4]
    for x, y in zip(xs.ravel().tolist(), ys.ravel().tolist(), strict=True):
        left, top = on_screen(page, x + 0.5, y + 0.5)
        painted = np.abs(shot[round(top), round(left)] - [64, 160, 255]).max() < 12
        assert painted == bool(at(page, x, y)), (x, y)


def test_every_format_is_downloaded(page: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    page.tell("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    drag_box(page, 10, 5, 60, 40)
    for name in ("mask.png", "soft.png", "rgba.png", "coco.json", "polygons.json"):
        path = folder / f"picture_{name}"
        page.click(f"[data-format={name.partition('.')[0]}]")
        page.wait_for(lambda path=path: path.is_file() and path.stat().st_size > 0)
    mask = np.asarray(Image.open(folder / "picture_mask.png"))
    assert mask.shape == (60, 90) and np.count_nonzero(mask) == page.value(MASK)
    (region,) = json.loads((folder / "picture_coco.json").read_text())["annotations"]
    assert region["area"] == page.value(MASK)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "picture_rgba.png"))[..., :3], picture()[0])


def test_an_upload_that_is_no_picture_is_told_and_changes_nothing(page: Browser, tmp_path: Path) -> None:
    drag_box(page, 10, 5, 60, 40)
    session, mask = page.value("state.session"), page.value(MASK)
    (tmp_path / "notes.png").write_text("not a picture")
    choose(page, "#file", tmp_path / "notes.png")
    page.wait("document.querySelector('#status').classList.contains('wrong')")
    assert "not a picture" in page.texts("#status")[0]
    assert (page.value("state.session"), page.value(MASK)) == (session, mask)
    click(page, 30, 20)  # and the session goes on
    assert not page.complaints


def test_two_tabs_have_a_picture_each(page: Browser, client: Client, tmp_path: Path) -> None:
    drag_box(page, 10, 5, 60, 40)
    mask, first = page.value(MASK), page.tab
    page.new_tab()
    page.visit(f"http://127.0.0.1:{client.port}/")
    (tmp_path / "other.png").write_bytes(picture(5, 70, 70)[1])
    choose(page, "#file", tmp_path / "other.png")
    page.wait("state.picture && state.width === 70 && waiting === 0")
    drag_box(page, 20, 20, 60, 60)
    click(page, 30, 30)
    page.tab = first
    assert page.value("[state.width, state.clicks.length]") == [90, 0] and page.value(MASK) == mask
    click(page, 20, 20)
    assert page.value("state.clicks.length") == 1


def test_keys_alone_are_enough(page: Browser) -> None:
    page.value("canvas.focus(), 0")
    for key, times in (("ArrowLeft", 8), ("ArrowUp", 6)):
        for _ in range(times):
            page.press(key)
    page.press("Enter")
    for key, times in (("ArrowRight", 14), ("ArrowDown", 10)):
        for _ in range(times):
            page.press(key)
    page.press("Enter")
    page.wait("waiting === 0 && state.mask !== null")
    np.testing.assert_allclose(page.value("box"), [13, 6, 69, 46])
    x, y = page.value("cross.map(Math.floor)")
    inside = at(page, x, y)
    page.press("Backspace" if inside else "Enter")
    page.wait("waiting === 0 && state.clicks.length === 1")
    assert at(page, x, y) == 1 - inside
    page.key("z")
    page.wait("waiting === 0 && state.clicks.length === 0")
    page.key("b")
    page.wait("waiting === 0 && state.mask === null")


def test_wheel_zooms_at_the_mouse_and_alt_drag_moves(page: Browser) -> None:
    spot = on_screen(page, 70, 20)
    scale = page.value("view.scale")
    page.tell("Input.dispatchMouseEvent", type="mouseWheel", x=spot[0], y=spot[1], deltaX=0, deltaY=-200)
    page.wait(f"view.scale > {scale} * 1.3")
    np.testing.assert_allclose(on_screen(page, 70, 20), spot, atol=0.5)
    page.drag(spot, (spot[0] + 50, spot[1] - 30), modifiers=1)
    np.testing.assert_allclose(on_screen(page, 70, 20), (spot[0] + 50, spot[1] - 30), atol=0.5)
    assert page.value("state.mask") is None  # no box was dragged
    page.key("0")
    assert page.value("view.scale") == pytest.approx(scale)


def test_a_generated_picture_comes_with_its_truth(browser: Browser, client: Client, tmp_path: Path) -> None:
    browser.visit(f"http://127.0.0.1:{client.port}/")
    browser.wait("$('samples').options.length > 3")
    browser.value("$('samples').value = '0', $('samples').dispatchEvent(new Event('change')), 0")
    browser.wait("state.truth !== null && waiting === 0")
    width, height = browser.value("[state.width, state.height]")
    drag_box(browser, 5, 5, width - 5, height - 5)
    assert browser.texts("#iou")[0].startswith("IoU 0.")
    click(browser, width / 2, height / 2)
    browser.value("$('errors').click(), $('slider').value = 50, draw(), 0")
    browser.screenshot(tmp_path / "sample.png")
    foreign = [each for each in browser.addresses if not each.startswith(("data:", "blob:", "about:"))]
    assert all(each.startswith(f"http://127.0.0.1:{client.port}/") for each in foreign)
    assert not browser.complaints


def test_controls_have_names_and_the_canvas_has_one(page: Browser) -> None:
    unnamed = page.value(
        "[...document.querySelectorAll('input, select, button')].filter((each) =>"
        " !(each.textContent.trim() || each.labels?.length)).map((each) => each.id)"
    )
    assert unnamed == [] and page.value("canvas.getAttribute('aria-label')")
    assert page.value("document.documentElement.lang") == "en"


def test_a_file_that_is_dropped_anywhere_is_opened(browser: Browser, client: Client) -> None:
    browser.visit(f"http://127.0.0.1:{client.port}/")
    data = base64.b64encode(picture(3, 50, 40)[1]).decode()
    browser.value(
        f"""(() => {{
            const bytes = Uint8Array.from(atob({data!r}), (each) => each.charCodeAt(0));
            const given = new DataTransfer();
            given.items.add(new File([bytes], "dropped.png"));
            const drop = {{ dataTransfer: given, bubbles: true, cancelable: true }};
            document.querySelector("aside").dispatchEvent(new DragEvent("drop", drop));
            return 0;
        }})()"""
    )
    browser.wait("state.picture && state.width === 50 && waiting === 0")


def test_png_of_a_mask_is_one_bit(client: Client) -> None:
    session = client.begin(picture()[1])
    _, answer = client.ask("POST", f"/api/sessions/{session}/box", {"box": [10, 5, 60, 40]})
    contents = base64.b64decode(answer["mask"].partition(",")[2])
    assert Image.open(io.BytesIO(contents)).mode == "1"


def test_a_session_that_the_server_forgot_comes_again_with_its_clicks(page: Browser, client: Client) -> None:
    drag_box(page, 10, 5, 60, 40)
    click(page, 30, 20)
    session, mask = page.value("state.session"), page.value(MASK)
    assert client.ask("DELETE", f"/api/sessions/{session}")[0] == 204
    click(page, 75, 50)
    second = page.value(MASK)
    assert (
        page.value("state.session") != session
        and page.value("$('status').classList.contains('wrong')") is False
    )
    page.key("z")
    page.wait("waiting === 0 && state.clicks.length === 1")
    assert page.value(MASK) == mask and not page.complaints
    assert client.ask("DELETE", f"/api/sessions/{page.value('state.session')}")[0] == 204
    page.key("y")  # what was undone comes again, too
    page.wait("waiting === 0 && state.clicks.length === 2")
    assert page.value(MASK) == second


def test_a_server_that_does_not_answer_is_told_and_changes_nothing(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    mask = page.value(MASK)
    page.value("window.fetch = () => Promise.reject(new TypeError('Failed to fetch')), 0")
    page.click_at(*on_screen(page, 30, 20))
    page.wait("waiting === 0 && $('status').classList.contains('wrong')")
    assert page.texts("#status") == ["The server does not answer. Is pisam serve still running?"]
    assert page.value(MASK) == mask and page.value("[state.clicks.length, pending.length]") == [0, 0]


def test_a_true_mask_of_zeros_and_ones_is_shown_as_the_server_reads_it(page: Browser, tmp_path: Path) -> None:
    truth = np.zeros((60, 90), np.uint8)
    truth[10:40, 20:70] = 1
    Image.fromarray(truth).save(tmp_path / "truth.png")
    choose(page, "#truth", tmp_path / "truth.png")
    page.wait("state.truth !== null && waiting === 0")
    assert page.value("state.truth.reduce((sum, each) => sum + each, 0)") == 30 * 50
    drag_box(page, 10, 5, 60, 40)
    assert page.texts("#iou")[0].startswith("IoU 0.")


def test_the_picture_fits_a_narrower_window_and_the_page_does_not_scroll(page: Browser) -> None:
    page.resize(420, 700)
    page.wait("Math.abs(view.scale * state.width - 0.98 * canvas.clientWidth) < 1")
    assert page.value("document.documentElement.scrollHeight <= window.innerHeight")
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_hand_that_shakes_clicks_and_what_is_not_answered_yet_is_undone(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    mask, (x, y) = page.value(MASK), on_screen(page, 30, 20)
    page.drag((x, y), (x + 7, y + 3))
    page.key("z")
    page.wait("waiting === 0 && state.clicks.length === 0 && state.redo === 1")
    assert page.value(MASK) == mask
    np.testing.assert_allclose(page.value("box"), [10, 5, 60, 40], atol=0.2)


def test_control_z_undoes(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    click(page, 30, 20)
    for key, modifiers, left in (("z", 2, 0), ("Z", 2 + 8, 1)):  # control; with shift
        page.tell("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers)
        page.tell("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)
        page.wait(f"waiting === 0 && state.clicks.length === {left}")


def hold(browser: Browser, path: str) -> None:
    """Keep the next requests to a path until `letGo()`."""
    browser.value(
        f"""(() => {{
            const get = window.fetch, gate = new Promise((open) => {{ window.letGo = open; }});
            window.fetch = (to, how) => to.includes({path!r}) ? gate.then(() => get(to, how)) : get(to, how);
            return 0;
        }})()"""
    )


def test_what_is_asked_of_one_picture_is_not_sent_to_the_next_one(page: Browser, tmp_path: Path) -> None:
    drag_box(page, 10, 5, 60, 40)
    (tmp_path / "other.png").write_bytes(picture(5, 90, 60)[1])
    hold(page, "api/images")
    choose(page, "#file", tmp_path / "other.png")
    page.drag(on_screen(page, 20, 10), on_screen(page, 70, 50))
    page.click_at(*on_screen(page, 30, 20))
    assert page.value("waiting") == 3
    page.value("letGo(), 0")
    page.wait("waiting === 0 && state.name === 'other'")
    assert page.value("[state.mask, box, state.clicks.length, pending.length]") == [None, None, 0, 0]
    assert page.texts("#status") == ["Drag a box around the object."]
    page.value("window.mend = paint, paint = () => { throw new Error('no memory'); }, 0")
    drag_box(page, 20, 10, 70, 50)  # on this one; what cannot be drawn is told, and requests go on
    assert page.texts("#status") == ["no memory"]
    page.value("paint = mend, 0")
    click(page, 30, 20)


def test_a_new_box_waits_for_the_answer(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    page.value("$('slider').value = 50, draw(), 0")
    mask = page.value(MASK)
    hold(page, "/click")
    page.click_at(*on_screen(page, 30, 20))
    page.key("b")
    page.value("letGo(), 0")
    page.wait("waiting === 0 && state.mask === null")
    assert page.value("box") is None and not page.complaints
    drag_box(page, 10, 5, 60, 40)
    page.value("window.fetch = () => Promise.reject(new TypeError('Failed to fetch')), 0")
    page.key("b")
    page.drag(on_screen(page, 20, 10), on_screen(page, 70, 50))
    page.wait("waiting === 0 && $('status').classList.contains('wrong')")
    assert page.value(MASK) == mask
    np.testing.assert_allclose(page.value("box"), [10, 5, 60, 40], atol=0.2)


def test_a_corner_of_the_keyboard_gives_way_to_the_mouse(page: Browser) -> None:
    page.value("canvas.focus(), 0")
    page.press("ArrowLeft")
    page.press("Enter")
    assert page.value("corner !== null")
    drag_box(page, 10, 5, 60, 40)
    assert page.value("corner") is None


def test_keys_work_beside_a_slider_and_an_undo_too_many_does_nothing(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    click(page, 30, 20)
    page.click("#opacity", at=0.2)
    page.key("z")
    page.key("z")
    page.wait("waiting === 0 && state.clicks.length === 0")
    assert page.value("$('status').classList.contains('wrong')") is False


def test_only_the_left_and_the_right_button_click(page: Browser) -> None:
    drag_box(page, 10, 5, 60, 40)
    for button in ("back", "forward", "middle"):
        page.click_at(*on_screen(page, 30, 20), button=button)
        assert page.value("[waiting, state.clicks.length]") == [0, 0]
