"""A ComfyUI page under Playwright: open it, choose the renderer, place nodes, load templates, drag."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARTIFACTS = Path(os.environ.get("BROWSER_ARTIFACTS", ROOT / "out" / "browser"))
PICTURE = 'canvas[aria-label="camera yaw"]'
RING = (96, 94, 68)  # js/orbit.mjs
SIZE = (320, 252)
SETTLE_MS = 400  # the picture looks at the widgets every 150 ms


def ring_point(yaw: float) -> tuple[float, float]:
    """Place of a camera at `yaw` degrees in units of the drawing."""
    import math

    x, y, radius = RING
    return x - radius * math.sin(math.radians(yaw)), y + radius * math.cos(math.radians(yaw))


class ComfyPage:
    """One browser tab on a running server. `errors` collects console errors and exceptions that concern the pack."""

    def __init__(self, browser, port: int, touch: bool = False):
        self.errors: list[str] = []
        self.context = browser.new_context(viewport={"width": 1500, "height": 1000}, has_touch=touch)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a shared core
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error.stack}"))
        self.page.on("console", self._console)
        self.page.goto(f"http://127.0.0.1:{port}/")
        self._wait_until_started()

    def reload(self) -> None:
        """The page anew: ComfyUI brings back the graph that was open, a while after the page stands."""
        self.page.wait_for_timeout(2000)  # it keeps the graph a moment after a change
        held = self.evaluate("() => app.graph._nodes.length")
        self.page.reload()
        self._wait_until_started()
        for _ in range(60 if held else 0):
            if self.evaluate("() => app.graph._nodes.length"):
                break
            self.page.wait_for_timeout(500)
        self.page.wait_for_timeout(SETTLE_MS)

    def _wait_until_started(self) -> None:
        self.page.wait_for_function("() => window.app?.extensionManager?.setting && window.app?.graph", timeout=90_000)
        self.page.wait_for_function("() => window.LiteGraph.registered_node_types['StereoTalker']", timeout=90_000)
        self.page.wait_for_timeout(1500)
        self.errors[:] = [
            error for error in self.errors if "StereoTalker" in error
        ]  # the others are the start of ComfyUI

    def _console(self, message) -> None:
        # a fresh server has no user.css, and ComfyUI asks hosts of the outside for news: not the pack's business
        kinds = "Failed to load resource", "Error fetching file size"
        outside = message.text.startswith(kinds) and "StereoTalker" not in message.location["url"]
        if message.type == "error" and not outside:
            self.errors.append(f"{message.text} ({message.location['url']})")

    def evaluate(self, script: str, argument=None):
        return self.page.evaluate(script, argument)

    def set_renderer(self, vue: bool) -> None:
        """Nodes 2.0 or the classic canvas."""
        self.evaluate("vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)", vue)
        self.page.wait_for_function("vue => Boolean(LiteGraph.vueNodesMode) === vue", arg=vue)

    def place(self, kind: str, scale: float = 1.0) -> None:
        """An empty graph with one node that has a camera picture."""
        self.place_plain(kind, scale)
        self.page.locator(PICTURE).first.wait_for(state="visible")
        self.page.wait_for_timeout(SETTLE_MS)

    def place_plain(self, kind: str, scale: float = 1.0) -> None:
        """An empty graph with one node."""
        self.evaluate(
            """async ([kind, scale]) => {
                // newer frontends keep values by graph and node: clear() alone would give them to the next node
                const id = crypto.randomUUID();
                await app.loadGraphData({ id, version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [] });
                const node = LiteGraph.createNode(kind);
                node.pos = [300, 120];
                app.graph.add(node);
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset = [0, 0];
                app.canvas.setDirty(true, true);
                app.extensionManager.workflow.activeWorkflow?.changeTracker?.checkState();
            }""",
            [kind, scale],
        )
        self.page.wait_for_timeout(SETTLE_MS)

    def build(self, nodes: dict[str, tuple], links: list[tuple], values: dict[str, dict] | None = None) -> None:
        """A graph of nodes {name: (type, x, y)}, links (from, output, to, input) by name, and widgets' values."""
        self.evaluate(
            """async ([nodes, links, values]) => {
                const id = crypto.randomUUID();
                await app.loadGraphData({ id, version: 0.4, last_node_id: 0, last_link_id: 0, nodes: [], links: [] });
                const made = {};
                for (const [name, [kind, x, y]] of Object.entries(nodes)) {
                    made[name] = LiteGraph.createNode(kind);
                    made[name].pos = [x, y];
                    app.graph.add(made[name]);
                    for (const [key, value] of Object.entries(values[name] ?? {})) {
                        const widget = made[name].widgets.find((one) => one.name === key);
                        widget.value = value;
                        widget.callback?.(value);
                    }
                }
                const slot = (list, name) => list.findIndex((one) => one.name === name);
                for (const [from, output, to, input] of links)
                    made[from].connect(slot(made[from].outputs, output), made[to], slot(made[to].inputs, input));
                app.canvas.ds.scale = 1;
                app.canvas.ds.offset = [60, 60];
                app.canvas.setDirty(true, true);
            }""",
            [nodes, links, values or {}],
        )
        self.page.wait_for_timeout(3 * SETTLE_MS)

    def room_below_picture(self) -> float:
        """Pixels of the page between the picture and the bottom of its node, the only one of the graph."""
        bottom = self.evaluate(
            """() => {
                const shown = document.querySelector("[data-node-id]");
                if (LiteGraph.vueNodesMode && shown) return shown.getBoundingClientRect().bottom;
                const { pos, size } = app.graph._nodes[0];
                const { scale, offset } = app.canvas.ds;
                return app.canvas.canvas.getBoundingClientRect().top + (pos[1] + size[1] + offset[1]) * scale;
            }"""
        )
        box = self.page.locator(PICTURE).first.bounding_box()
        return bottom - box["y"] - box["height"]

    def overlapping(self) -> list[tuple[str, str]]:
        """Pairs of nodes of the graph that cover each other."""
        boxes = self.evaluate(
            """() => {
                const shown = [...document.querySelectorAll("[data-node-id]")];
                const title = (id) => app.graph.getNodeById(Number(id))?.title;
                if (LiteGraph.vueNodesMode && shown.length) return shown.map((element) => {
                    const box = element.getBoundingClientRect();
                    return [title(element.dataset.nodeId), box.left, box.top, box.right, box.bottom];
                });
                return app.graph._nodes.map(({ title, pos, size }) =>
                    [title, pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]]);
            }"""
        )
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
        return [(a[0], b[0]) for a, b in pairs if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]]

    def fit_view(self) -> None:
        """The whole graph on the page."""
        self.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(3 * SETTLE_MS)

    def widgets(self, kind: str) -> dict:
        """{name: value} of the first node of that kind."""
        return self.evaluate(
            "kind => Object.fromEntries(app.graph._nodes.find(n => n.type === kind).widgets"
            ".filter(w => w.serialize !== false).map(w => [w.name, w.value]))",
            kind,
        )

    def set_widget(self, kind: str, name: str, value) -> None:
        self.evaluate(
            """([kind, name, value]) => {
                const node = app.graph._nodes.find((n) => n.type === kind);
                const widget = node.widgets.find((w) => w.name === name);
                widget.value = value;
                widget.callback?.(value);
            }""",
            [kind, name, value],
        )

    def on_page(self, point: tuple[float, float]) -> tuple[float, float]:
        """Units of the drawing -> pixels of the page."""
        box = self.page.locator(PICTURE).first.bounding_box()
        scale = min(box["width"] / SIZE[0], box["height"] / SIZE[1])
        left = box["x"] + (box["width"] - SIZE[0] * scale) / 2
        top = box["y"] + (box["height"] - SIZE[1] * scale) / 2
        return left + point[0] * scale, top + point[1] * scale

    def drag(self, *points: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self.on_page(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.on_page(point), steps=3)
        mouse.up()
        self.page.wait_for_timeout(SETTLE_MS)

    def touch_drag(self, *points: tuple[float, float]) -> None:
        """The same with a finger, through the browser's touch input."""
        session = self.context.new_cdp_session(self.page)
        places = [dict(zip("xy", self.on_page(point), strict=True)) for point in points]
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
        for place in places[1:]:
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        session.detach()
        self.page.wait_for_timeout(SETTLE_MS)

    def slowest_drag_step(self, points: list[tuple[float, float]]) -> float:
        """Milliseconds of the slowest step of a drag: handling of the event and drawing of the picture."""
        return self.evaluate(
            """([selector, points]) => {
                const canvas = document.querySelector(selector);
                let worst = 0;
                points.forEach(([clientX, clientY], i) => {
                    const kind = i ? "pointermove" : "pointerdown";
                    const start = performance.now();
                    canvas.dispatchEvent(new PointerEvent(kind, { clientX, clientY, pointerId: 1, bubbles: true }));
                    canvas.getContext("2d").getImageData(0, 0, 1, 1); // wait until it is really drawn
                    if (i) worst = Math.max(worst, performance.now() - start);
                });
                canvas.dispatchEvent(new PointerEvent("pointerup", { pointerId: 1, bubbles: true }));
                return worst;
            }""",
            [PICTURE, [list(self.on_page(point)) for point in points]],
        )

    def hold_keys(self, keys: str) -> None:
        """Keys for as long as a person holds them: ComfyUI looks at them a frame later, and forgets what could be done
        again where they are up by then (its own layout after undo then counts as a change)."""
        self.page.keyboard.press(keys, delay=500)

    def wait_for_yaw(self, yaw: float) -> None:
        self.page.wait_for_function(
            "([selector, yaw]) => Number(document.querySelector(selector)?.getAttribute('aria-valuenow')) === yaw",
            arg=[PICTURE, yaw],
            timeout=10_000,
        )

    def shown_yaw(self) -> float:
        """The yaw that the picture says it shows."""
        return float(self.page.locator(PICTURE).first.get_attribute("aria-valuenow"))

    def open_template(self, name: str) -> None:
        """Through the template browser, as a user would: our category, our card."""
        self.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        dialog = self.page.locator('[role="dialog"]')
        dialog.get_by_text("ComfyUI-StereoTalker").last.click()
        cards = dialog.locator('[data-testid^="template-workflow-stereotalker"]')
        cards.first.wait_for()
        card = dialog.locator(f'[data-testid="template-workflow-{name}"]').first
        for _ in range(10):
            if card.count():
                break
            cards.last.hover()  # the list grows when it is scrolled
            self.page.mouse.wheel(0, 2000)
            self.page.wait_for_timeout(SETTLE_MS)
        card.click()
        self._wait_for_template(name)

    def load_template(self, name: str) -> None:
        """What a click on the card does, without the browser of all templates."""
        self.evaluate(
            """async name => {
                const packs = await (await app.api.fetchApi("/workflow_templates")).json();
                const [pack] = Object.entries(packs).find(([, names]) => names.includes(name));
                const file = await app.api.fetchApi(`/workflow_templates/${encodeURIComponent(pack)}/${name}.json`);
                await app.loadGraphData(await file.json(), true, true, name, { openSource: "template" });
            }""",
            name,
        )
        self._wait_for_template(name)

    def _wait_for_template(self, name: str) -> None:
        self.page.wait_for_function(
            "name => app.extensionManager.workflow.activeWorkflow?.filename?.includes(name)"
            " && app.graph._nodes.some(n => n.type.startsWith('StereoTalker'))",
            arg=name,
        )
        self.page.wait_for_timeout(1000)

    def prompt_input(self, kind: str, name: str):
        """An input of the first node of that kind in the prompt that a run would send."""
        return self.evaluate(
            """async ([kind, name]) => {
                const prompt = (await app.graphToPrompt()).output;
                return Object.values(prompt).find((node) => node.class_type === kind).inputs[name];
            }""",
            [kind, name],
        )

    def run_graph(self, timeout_s: float = 300) -> None:
        """Queue the graph and wait for its success."""
        kind, detail = self.run_to_end(timeout_s)
        assert kind == "success", detail

    def run_to_end(self, timeout_s: float = 300) -> tuple[str, dict]:
        """Queue the graph and wait -> "success" or "error", and what ComfyUI says of it."""
        self.evaluate(
            """async () => {
                window.probe = null;
                const note = (kind) => (event) => { window.probe ??= [kind, event.detail]; };
                app.api.addEventListener("execution_success", note("success"), { once: true });
                app.api.addEventListener("execution_error", note("error"), { once: true });
                await app.queuePrompt(0);
            }"""
        )
        self.page.wait_for_function("() => window.probe", timeout=1000 * timeout_s)
        kind, detail = self.evaluate("() => window.probe")
        self.page.wait_for_timeout(SETTLE_MS)
        return kind, detail

    def show_node(self, kind: str) -> None:
        """Scroll the graph to a node at full size."""
        self.evaluate(
            """kind => {
                const node = app.graph._nodes.find((n) => n.type === kind);
                app.canvas.ds.scale = 1;
                app.canvas.ds.offset = [300 - node.pos[0], 150 - node.pos[1]];
                app.canvas.setDirty(true, true);
            }""",
            kind,
        )
        self.page.wait_for_timeout(3 * SETTLE_MS)

    def _person(self, expression: str):
        # the square of the drawing where the person appears, js/orbit.mjs PICTURE, at two canvas pixels a unit
        return self.evaluate(
            f"""selector => {{
                const context = document.querySelector(selector).getContext("2d");
                const data = context.getImageData(388, 16, 236, 236).data;
                return {expression};
            }}""",
            PICTURE,
        )

    def picture_of_person(self) -> list[int]:
        """Every 97th byte of the person's square."""
        return self._person("Array.from(data).filter((_, i) => i % 97 === 0)")

    def colours_of_person(self) -> int:
        """How many different colours that square has, 5 bits a channel."""
        return self._person(
            "new Set(Array.from({ length: data.length / 4 }, (_, i) =>"
            " ((data[4 * i] >> 3) << 10) | ((data[4 * i + 1] >> 3) << 5) | (data[4 * i + 2] >> 3))).size"
        )

    def wait_for_person(self) -> None:
        """Until the small picture shows a person, not the grey hint."""
        for _ in range(20):
            if self.colours_of_person() > 50:
                return
            self.page.wait_for_timeout(500)
        raise AssertionError("no person in the camera picture")

    def version(self) -> str:
        return self.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__")

    def nodes2_shows_elements(self) -> bool:
        """Whether Nodes 2.0 of this frontend shows elements of extensions (1.27, its first preview, does not)."""
        major, minor = (int(part) for part in self.version().split(".")[:2])
        return (major, minor) >= (1, 30)

    def problems(self) -> list[str]:
        """Text of dialogs about missing nodes, and nodes that ComfyUI could not make."""
        texts = self.page.locator('[role="dialog"]').all_inner_texts()
        unknown = self.evaluate(
            "() => app.graph._nodes.filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type])"
            ".map(n => n.type)"
        )
        return [text for text in texts if "issing" in text] + unknown

    def screenshot(self, name: str) -> Path:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        self.context.close()


def graph_names() -> list[str]:
    """Names of the example graphs."""
    files = sorted((ROOT / "workflows").glob("*.json"))
    return [file.stem for file in files if json.loads(file.read_text()).get("nodes")]
