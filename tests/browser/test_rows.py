"""What a user sees in a real browser: colours, the picture first, the fit's words, reload, subgraph, Chinese."""

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("browser", "comfyui", "nodes")]
from browser import PICTURE, ROOT, ring_point  # noqa: E402
from test_browser import CAMERA, SIMPLE, label, pytestmark  # noqa: E402, F401

GRAPH = "stereotalker_01_simple"
PERSON = (
    "() => [...document.querySelectorAll('[role=status]')].map((one) => one.innerText).filter(Boolean).join('\\n')"
)
CHINESE = 'canvas[aria-label="相机偏航角"]'


def test_sockets_have_their_colours_after_a_palette_was_loaded(tab, renderer):  # noqa: F811
    for palette in ("light", "dark"):
        tab.evaluate("id => app.extensionManager.setting.set('Comfy.ColorPalette', id)", palette)
        tab.page.wait_for_timeout(1000)
        table, style = tab.evaluate(
            "() => [app.canvas.default_connection_color_byType.ST_MOTION,"
            " getComputedStyle(document.documentElement).getPropertyValue('--color-datatype-ST_MOTION')]"
        )
        assert table == style.strip() == "#8ddb8c"
    assert tab.errors == []


@pytest.mark.parametrize("kind", [CAMERA, SIMPLE])
def test_the_picture_stands_first_and_values_are_saved_without_it(tab, renderer, kind):  # noqa: F811
    tab.place(kind)
    tab.set_widget(kind, "yaw", 25.0)
    names = tab.evaluate("() => app.graph._nodes[0].widgets.map((one) => one.name)")
    assert names[0] == "camera_view" and "camera_view" not in tab.widgets(kind)
    values = list(tab.widgets(kind).values())
    saved = tab.evaluate("() => app.graph.serialize().nodes[0].widgets_values")
    assert saved == values
    tab.evaluate("async () => { await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize()))); }")
    tab.page.wait_for_timeout(800)
    assert list(tab.widgets(kind).values()) == values and tab.widgets(kind)["yaw"] == 25
    assert tab.errors == []


def test_a_run_says_the_quality_and_the_person_stays_after_a_reload(tab, renderer, request):  # noqa: F811
    tab.load_template(GRAPH)
    tab.set_widget("StereoTalkerExampleInputs", "seconds", 0.6)
    tab.set_widget("StereoTalkerExampleInputs", "size", 256)
    tab.set_widget(SIMPLE, "size", 128)
    tab.set_widget(SIMPLE, "pitch", 1.0 if renderer == "nodes2" else 0.0)  # nothing is sent of cached nodes
    tab.run_graph()
    tab.show_node(SIMPLE)
    assert "fit quality" in tab.evaluate(PERSON) and "px high" in tab.evaluate(PERSON)
    assert tab.colours_of_person() > 50
    tab.screenshot(f"{label(request)}-said")
    tab.evaluate("async () => { await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize()))); }")
    tab.show_node(SIMPLE)
    assert tab.colours_of_person() > 50, "after a load of the graph"
    tab.reload()
    tab.show_node(SIMPLE)
    tab.page.wait_for_timeout(1500)
    assert tab.colours_of_person() > 50, "after a reload of the page"
    assert tab.errors == []


def test_the_picture_drags_inside_a_blueprint(tab, renderer, request):  # noqa: F811
    graph = json.loads((ROOT / "subgraphs" / "stereotalker_talk.json").read_text())
    tab.evaluate("async (graph) => { await app.loadGraphData(graph); }", graph)
    tab.page.wait_for_timeout(1000)
    outside = "() => app.rootGraph?.nodes?.[0] ?? app.graph.rootGraph?.nodes?.[0] ?? app.graph._nodes[0]"
    tab.screenshot(f"{label(request)}-blueprint")
    tab.evaluate(f"() => {{ const node = ({outside})(); app.canvas.openSubgraph(node.subgraph, node); }}")
    tab.page.wait_for_timeout(1500)
    tab.evaluate(
        """kind => {
            const node = app.canvas.graph._nodes.find((n) => n.type === kind);
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [300 - node.pos[0], 150 - node.pos[1]];
            app.canvas.setDirty(true, true);
        }""",
        CAMERA,
    )
    tab.page.locator(PICTURE).first.wait_for(state="visible")
    tab.page.wait_for_timeout(800)
    tab.drag(ring_point(0), ring_point(20), ring_point(40))
    yaw = tab.evaluate(f"() => ({outside})().widgets.find((one) => one.name === 'yaw').value")
    tab.screenshot(f"{label(request)}-inside")
    assert yaw == pytest.approx(40, abs=1) and tab.shown_yaw() == yaw
    assert tab.prompt_input(CAMERA, "yaw") == yaw
    assert [error for error in tab.errors if "GraphView" not in error] == []  # 1.27 complains of its own subgraph view


def test_a_file_can_be_brought_along(tab, renderer, tmp_path):  # noqa: F811
    file = tmp_path / f"motion_{renderer}.bvh"
    file.write_text("HIERARCHY\n")
    tab.place_plain("StereoTalkerLoadMotion")
    with tab.page.expect_file_chooser() as chosen:
        tab.evaluate("() => { app.graph._nodes[0].widgets.find((one) => one.type === 'button').callback(); }")
    chosen.value.set_files(str(file))
    tab.page.wait_for_function("name => app.graph._nodes[0].widgets[0].value === name", arg=file.name)
    assert tab.errors == []


def test_chinese(tab, renderer, request):  # noqa: F811
    tab.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    try:
        tab.reload()
        tab.place_plain(SIMPLE)
        tab.page.locator(CHINESE).first.wait_for(state="visible")
        tab.screenshot(f"{label(request)}-zh")
        widgets = "app.graph._nodes[0].widgets.find((one) => one.name === 'background')"
        assert tab.evaluate(f"() => {widgets}.options.getOptionLabel('green')") == "绿色"
        assert tab.evaluate(f"() => {widgets}.value") == "portrait"
        assert tab.errors == []
    finally:
        tab.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
        tab.reload()
