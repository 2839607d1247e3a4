"""Painting a changed part of the screen asks only the widgets that are seen there.

The toolkit takes the box around all that changed, which figures on the right and a line at the bottom make the whole
screen, and has every widget in it give all of its lines, ten times a second. The result here is the same, strip by
strip, for less than half of the work. One method of the toolkit's compositor is overridden; it and the names it uses
are not public, which is why pyproject.toml keeps to one major version.
"""

from itertools import pairwise

from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.strip import Strip

Spans = list[tuple[int, int, int]]
Wanted = dict[int, list[int]]
"""Of some lines of the screen the pieces between two cuts that are still to be painted, by where they begin."""


class PartialCompositor(Compositor):
    """Takes the place of a screen's own."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """What has to be written for all that became dirty since the last update; None for nothing."""
        screen = self.size.region
        dirty = [seen for region in self._dirty_regions if (seen := region.intersection(screen))]
        self._dirty_regions.clear()
        if not dirty:
            return None
        spans = list(self._regions_to_spans(dirty))
        cuts = self.cuts
        wanted = _pieces_within(spans, cuts)
        chops: list[dict[int, Strip | None]] = [dict.fromkeys(line[:-1]) for line in cuts]
        for widget, (region, clip) in self.visible_widgets.items():  # from the front to the back
            seen = region.intersection(clip)
            lines = _lines_within(seen, wanted)
            if not lines:
                continue
            x, first = seen.x, lines[0]
            part = Region(x - region.x, first - region.y, seen.width, lines[-1] - first + 1)
            strips = widget.render_lines(part)
            for line in lines:
                inside = [cut for cut in cuts[line] if x <= cut <= seen.right]
                pieces = strips[line - first].divide([cut - x for cut in inside[1:]])
                given = dict(zip(inside, pieces, strict=False))
                into, left = chops[line], []
                for start in wanted[line]:
                    if start in given:
                        into[start] = given[start]
                    else:
                        left.append(start)
                if left:
                    wanted[line] = left
                else:
                    del wanted[line]
            if not wanted:
                break
        return ChopsUpdate(chops, spans, [line[1:] for line in cuts])


def _pieces_within(spans: Spans, cuts: list[list[int]]) -> Wanted:
    """The pieces that `spans` touch."""
    wanted: Wanted = {}
    for y, begin, end in spans:
        line = cuts[y]
        pieces = wanted.setdefault(y, [])
        for start, following in pairwise(line):
            if start < end and following > begin and start not in pieces:
                pieces.append(start)
    return wanted


def _lines_within(region: Region, wanted: Wanted) -> list[int]:
    """The lines of which a wanted piece lies in `region`, from the top down."""
    left, right = region.x, region.right
    lines = []
    for line in region.line_range:
        for start in wanted.get(line, ()):
            if left <= start < right:
                lines.append(line)
                break
    return lines
