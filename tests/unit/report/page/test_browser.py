"""The page in headless Chromium: no error, no request, controls that do what they say, with mouse and keyboard."""

import json
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from kdcore.report.page.render import LEVELS
from tests.unit.report.page import results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here, so the page's controls are not tried")

STUDENTS = ("soft", "sid")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    found = [results.comparison(), results.comparison(results.HOSTILE, of=results.task("reviews", ("<i>bad", "good")))]
    folder = results.project(tmp_path_factory.mktemp("browser"), found)
    results.page(folder, ["movies", "reviews"])
    return folder


@pytest.fixture(scope="module")
def data(project) -> list[dict]:
    """What the page has to show."""
    folder = project / "metrics/main/attention"
    return [json.loads((folder / f"{task}.json").read_text(encoding="utf-8")) for task in ("movies", "reviews")]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def opened(browser, project) -> Iterator:
    """The page, open; afterwards it must have logged nothing and asked for nothing but itself."""
    yield from _opened(browser, project)


@pytest.fixture
def narrow(browser, project) -> Iterator:
    """The same on a phone, at night."""
    yield from _opened(browser, project, viewport={"width": 400, "height": 800}, color_scheme="dark")


def _opened(browser, project: Path, **how) -> Iterator:
    page = browser.new_page(**how)
    page.set_default_timeout(120_000)
    address, problems = (project / "metrics/main/report.html").as_uri(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    assert problems == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert page.evaluate("window.broken") is None
    page.close()


def control(page, name: str):
    return page.get_by_role("combobox", name=name)


def shown_kl(page, model: str) -> str:
    return page.locator(".map", has_text=model).locator(".far b").inner_text()


def kl(data, example: int, model: str, layer: int, head: int, task: int = 0) -> str:
    return f"{data[task]['examples'][example]['models'][model]['kl'][layer][head]:.3f}"


def chosen(page) -> tuple[int, int]:
    return int(control(page, "Layer").input_value()), int(control(page, "Head").input_value())


def test_it_opens_on_the_head_of_which_the_first_student_is_farthest(opened, data):
    values = data[0]["examples"][0]["models"]["soft"]["kl"]
    worst = max((value, layer, head) for layer, row in enumerate(values) for head, value in enumerate(row))
    assert chosen(opened) == worst[1:]
    assert shown_kl(opened, "soft") == f"{worst[0]:.3f}"


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (2, 3), (1, 2)])
def test_choosing_a_layer_and_head_shows_their_kl(opened, data, layer, head):
    control(opened, "Layer").select_option(index=layer)
    control(opened, "Head").select_option(index=head)
    for model in STUDENTS:
        assert shown_kl(opened, model) == kl(data, 0, model, layer, head)
    teacher = opened.locator(".map", has_text="teacher")
    assert f"layer {data[0]['layer_map'][layer]}, head {head + 1}" in teacher.inner_text()


def test_choosing_an_example_shows_its_text_prediction_and_tokens(opened, data):
    control(opened, "Example").select_option(index=1)
    example = data[0]["examples"][1]
    assert opened.locator("blockquote").all_inner_texts() == example["texts"]
    line = opened.locator(".predictions li", has_text="sid").inner_text()
    assert example["models"]["sid"]["prediction"] in line
    assert ("right" in line) == (example["models"]["sid"]["prediction"] == example["label"])
    labels = opened.locator(".map").first.locator("text.from").evaluate_all("nodes => nodes.map(n => n.lastChild.data)")
    assert labels == example["tokens"]


def test_the_maps_are_coloured_by_their_weights(opened):
    control(opened, "Layer").select_option(index=1)
    control(opened, "Head").select_option(index=2)
    weights = results.comparison().examples[0].seen["sid"].maps[1, 2]
    cells = opened.locator(".map").nth(2).locator("rect[data-place]")
    classes = cells.evaluate_all("nodes => nodes.map(node => node.getAttribute('class'))")
    levels = [int(name.removeprefix("b")) for name in classes]
    assert levels == pytest.approx((weights**0.5 * LEVELS).ravel().tolist(), abs=0.6)


def test_a_click_in_a_grid_goes_to_that_head_and_the_worst_is_marked(opened, data):
    grid = opened.get_by_role("grid", name="KL of sid")
    grid.get_by_role("gridcell").nth(6).click()
    assert chosen(opened) == (1, 2)
    assert shown_kl(opened, "sid") == kl(data, 0, "sid", 1, 2)
    values = list(chain(*data[0]["examples"][0]["models"]["sid"]["kl"]))
    worst = grid.locator("td.worst")
    assert worst.count() == 1
    assert f"{max(values):.3f}, the worst" in worst.get_attribute("aria-label")
    opened.locator(".kl", has_text="sid").get_by_role("button").click()
    assert shown_kl(opened, "sid") == f"{max(values):.3f}"


def test_the_grids_can_show_the_mean_over_all_rows(opened, data):
    cells = opened.get_by_role("grid", name="KL of soft").get_by_role("gridcell")
    control(opened, "KL in the grids").select_option(value="all")
    overall = list(chain(*data[0]["models"][1]["kl"]))
    assert cells.all_inner_texts() == [f"{value:.2f}" for value in overall]
    assert f"total {data[0]['models'][1]['total']:.3f}" in opened.locator(".kl").first.inner_text()
    control(opened, "KL in the grids").select_option(value="example")
    assert cells.all_inner_texts() != [f"{value:.2f}" for value in overall]


def test_arrow_keys_move_through_a_grid(opened, data):
    grid = opened.get_by_role("grid", name="KL of soft")
    grid.get_by_role("gridcell").first.click()
    way = {
        "ArrowRight": (0, 1),
        "ArrowDown": (1, 1),
        "End": (1, 3),
        "ArrowUp": (0, 3),
        "PageDown": (2, 3),
        "Home": (2, 0),
    }
    for key, place in way.items():
        opened.keyboard.press(key)
        assert chosen(opened) == place
        assert opened.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    assert shown_kl(opened, "soft") == kl(data, 0, "soft", 2, 0)
    assert grid.locator("td[tabindex='0']").count() == 1


def test_arrow_keys_read_the_weights_of_the_maps(opened, data):
    maps = opened.get_by_role("application")
    maps.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        opened.keyboard.press(key)
    tokens = data[0]["examples"][0]["tokens"]
    said = opened.get_by_role("status").inner_text()
    assert said.startswith(f"From {tokens[1]} to {tokens[1]}: teacher ")
    assert opened.locator(".cursor[visibility='visible']").count() == 3
    opened.keyboard.press("Escape")
    assert "arrow keys" in opened.get_by_role("status").inner_text()


def test_the_pointer_reads_the_weights_of_the_maps(opened, data):
    cell = opened.locator(".map").nth(1).locator("rect[data-place='3']")
    cell.hover()
    tokens = data[0]["examples"][0]["tokens"]
    assert opened.get_by_role("status").inner_text().startswith(f"From {tokens[0]} to {tokens[3]}: ")
    opened.get_by_role("heading", name="The run").hover()
    assert opened.locator(".cursor[visibility='visible']").count() == 0


def test_everything_is_reached_with_the_tab_key(opened):
    control(opened, "Task").focus()
    reached = []
    name = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
    for _ in range(12):
        reached.append(opened.evaluate(name))
        opened.keyboard.press("Tab")
    order = ["choose-task", "choose-example", "choose-layer", "choose-head", "choose-over"]
    assert reached[:5] == order
    assert any("layer" in name and "KL" in name for name in reached[5:])
    assert any(name.startswith("Attention maps") for name in reached[5:])


def test_hostile_texts_are_shown_as_they_are(opened, data):
    control(opened, "Task").select_option(index=1)
    for place, text in enumerate(results.HOSTILE):
        control(opened, "Example").select_option(index=place)
        assert opened.locator("blockquote").evaluate("node => node.textContent") == text
    said = opened.locator(".predictions .said").all_inner_texts()
    assert len(said) == 3
    assert set(said) <= {"<i>bad", "good"}
    assert opened.locator(".predictions i i, #explorer img, #explorer script").count() == 0


def test_the_page_fits_a_phone(narrow):
    width = narrow.evaluate("document.documentElement.scrollWidth")
    assert width == 400
    control(narrow, "Head").select_option(index=1)
    assert chosen(narrow)[1] == 1


def test_night_and_paper_have_their_own_colours(narrow):
    background = "getComputedStyle(document.body).backgroundColor"
    assert sum(map(int, narrow.evaluate(background)[4:-1].split(", "))) < 120
    narrow.emulate_media(media="print", color_scheme="dark")
    assert narrow.evaluate(background) == "rgb(255, 255, 255)"
    assert not narrow.locator(".controls").is_visible()


def test_the_policy_stops_a_script_that_an_escape_let_through(browser, project):
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((project / "metrics/main/report.html").as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p onclick=\"window.broken = 1\" id=trap>trap</p>')")
    page.locator("#trap").click()
    assert page.evaluate("window.broken") is None
    assert any("Content Security Policy" in line for line in said)
    page.close()
