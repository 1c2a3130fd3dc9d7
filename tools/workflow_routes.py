"""The routes of links around the nodes of an example graph, made of ComfyUI's reroute points.

A link leaves its node to the right, runs in the corridor beside the column, crosses columns in a lane above all groups
(or, within one column, in the gap above its target) and comes down before its target. All links of one output share the
points of their common way."""

from collections.abc import Callable
from dataclasses import dataclass, field

SLOT, FIRST_SLOT, WIDGET = 20, 14, 24  # pixels of a row of sockets, its first one, and of a widget
TRACK, TRACKS, INSET = 8, 9, 12  # corridor: distance of parallel links, how many, and of the first from the node
LANE = 16  # distance of lanes
STRAIGHT = 40  # pixels up or down that a link to the next column goes without points


@dataclass(frozen=True)
class Place:
    """The rectangle of a node (px); inputs, outputs: how far below its top its sockets lie."""

    left: int
    top: int
    width: int
    height: int
    inputs: list[int]
    outputs: list[int]


@dataclass
class Routes:
    """The reroute points in ComfyUI's format, and for every link its last point."""

    points: list[dict] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)

    def point(self, x: int, y: int, parent: int | None) -> int:
        row = {"id": len(self.points) + 1, "pos": [x, y], "linkIds": []}
        self.points.append(row | ({} if parent is None else {"parentId": parent}))
        return len(self.points)

    def finish(self) -> dict:
        """Return {"reroutes": [points], "linkExtensions": [last point of each link]} for a workflow's "extra"; {}
        without any."""
        for link, at in sorted(self.last.items()):
            step: int | None = at
            while step is not None:
                self.points[step - 1]["linkIds"].append(link)
                step = self.points[step - 1].get("parentId")
        ends = [{"id": link, "parentId": at} for link, at in sorted(self.last.items())]
        return {"reroutes": self.points, "linkExtensions": ends} if ends else {}


class Corridors:
    """The vertical tracks for links beside the columns: calls of `after` use up the tracks of a column, then begin
    again."""

    def __init__(self) -> None:
        self.used: dict[int, int] = {}

    def after(self, right: int) -> int:
        """Return x (px) of a track to the right of a column that ends at `right`."""
        number = self.used[right] = self.used.get(right, -1) + 1
        return right + INSET + TRACK * (number % TRACKS)


def route(links: list[list], places: dict[int, Place], ceiling: int) -> tuple[dict, int]:
    """Map links [id, from, slot, to, slot, type] -> (`extra` of the workflow, y of the highest lane).

    places: {node id: its rectangle}; ceiling: y of the top of all groups, px."""
    columns = sorted({place.left for place in places.values()})
    ends = {place.left: place.left + place.width for place in places.values()}
    routes, corridors, lanes = Routes(), Corridors(), 0
    before = {left: ends[columns[i - 1]] if i else left - 100 for i, left in enumerate(columns)}
    for source, slot in sorted({(link[1], link[2]) for link in links}, key=lambda key: places[key[0]].left):
        mine = [link for link in links if (link[1], link[2]) == (source, slot)]
        start = places[source]
        y = start.top + start.outputs[slot]
        column = columns.index(start.left)
        goals = [Goal(link[0], columns.index(places[link[3]].left) - column, places[link[3]], link[4]) for link in mine]
        routed = [goal for goal in goals if goal.ahead != 1 or abs(goal.y - y) > STRAIGHT]
        if not routed:
            continue
        track = corridors.after(ends[start.left])
        trunk = routes.point(track, y, None)
        _down(routes, [goal for goal in routed if goal.ahead == 1], trunk, (track, y))
        for goal in (goal for goal in routed if goal.ahead == 0):
            _around(routes, goal, trunk, track, corridors.after(before[start.left]))
        far = [goal for goal in routed if goal.ahead > 1]
        if far:
            lanes += 1
            lane = ceiling - LANE * lanes
            at = routes.point(track, lane, trunk)
            for ahead in sorted({goal.ahead for goal in far}):
                x = corridors.after(before[columns[column + ahead]])
                at = routes.point(x, lane, at)
                _down(routes, [goal for goal in far if goal.ahead == ahead], at, (x, lane))
    return routes.finish(), ceiling - LANE * (lanes + 1)


@dataclass(frozen=True)
class Goal:
    """The target of a link.

    link: number of the link; ahead: how many columns further right the target lies; place: rectangle of the target
        node; slot: number of its socket."""

    link: int
    ahead: int
    place: Place
    slot: int

    @property
    def y(self) -> int:
        return self.place.top + self.place.inputs[self.slot]


def _down(routes: Routes, goals: list[Goal], parent: int, at: tuple[int, int]) -> None:
    """Route links down and up a corridor, from a point to the height of each goal.

    routes: extended in place; goals: targets of the links; parent: number of the point from which all start; at: (x, y)
        of that point in px."""
    x, y = at
    below = sorted((goal for goal in goals if goal.y >= y), key=lambda goal: goal.y)
    above = sorted((goal for goal in goals if goal.y < y), key=lambda goal: -goal.y)
    for side in (below, above):
        step = parent
        for goal in side:
            step = routes.point(x, goal.y, step)
            routes.last[goal.link] = step


def _around(routes: Routes, goal: Goal, trunk: int, right: int, left: int) -> None:
    """Route a link to a node in the column that it comes from: through the gap above that node to its left side.

    routes: extended in place; goal: the target; trunk: number of the point to start from; right, left: x in px of the
        corridors on both sides of the column."""
    gap = goal.place.top - 30 - 22  # below the title's bar and half of the gap
    at = routes.point(right, gap, trunk)
    at = routes.point(left, gap, at)
    routes.last[goal.link] = routes.point(left, goal.y, at)


def crossings(links: list[list], places: dict[int, Place], extra: dict) -> list[tuple[int, int]]:
    """Return (link, node) for every straight piece of a link that runs through a node; tests want none.

    links: as of `route`; places: {node id: its rectangle}; extra: `extra` of the workflow, from `route`."""
    points = {point["id"]: point for point in extra.get("reroutes", [])}
    last = {row["id"]: row["parentId"] for row in extra.get("linkExtensions", [])}
    found = []
    for number, source, slot, target, at, _ in links:
        path, step = [], last.get(number)
        while step is not None:
            path.insert(0, tuple(points[step]["pos"]))
            step = points[step].get("parentId")
        first, goal = places[source], places[target]
        path.insert(0, (first.left + first.width, first.top + first.outputs[slot]))
        path.append((goal.left, goal.top + goal.inputs[at]))
        for a, b in zip(path, path[1:], strict=False):
            found += [(number, key) for key, place in places.items() if _hits(a, b, place)]
    return found


def _hits(a: tuple[int, int], b: tuple[int, int], place: Place) -> bool:
    """Tell whether the straight line from a to b passes through the inside of a node or its title."""
    inside: Callable[[float, float], bool] = lambda x, y: (  # noqa: E731
        place.left < x < place.left + place.width and place.top - 30 < y < place.top + place.height
    )
    return any(inside(a[0] + (b[0] - a[0]) * t / 100, a[1] + (b[1] - a[1]) * t / 100) for t in range(101))
