"""Subscribers who ask for everything again, and for a new picture each time, get a fixed share; others lose nothing.

No SDK abuses anything: the clients are the load clients.
"""

from __future__ import annotations

import asyncio

from client import control, measured, scenario
from load_call import MEASURE_S, SUBSCRIBERS, call, lost, number

#: The server asks a publisher for a key frame this often at most.
KEYFRAME_EVERY_S = 0.5
#: Of what was sent this share may be sent again, and so many bytes beside it, to each subscriber.
SHARE = 0.2
BURST_BYTES = 64 << 10
#: The largest and the smallest that the load clients publish, sealed and numbered.
DATAGRAM_BYTES, DATAGRAM_BYTES_MIN = 1_200, 1_000


async def act() -> None:
    (_, text), (code, other) = await asyncio.gather(call("abused", "--abuse"), call("beside"))
    asked = number(r"(\d+) requests for a key frame", text)
    resent = number(r"(\d+) packets were sent again", text)
    cost = number(r"(\d+) bytes were sent to ask", text)
    came = number(r"(\d+) bytes of media", text)
    media = number(r"(\d+) datagrams a second", text) * MEASURE_S
    control(cost > 100_000 and media > 1_000, f"they asked with {cost:.0f} bytes, beside {media:.0f} packets of media")
    control(resent > 0 and asked > 0, "what they ask for does come: some packets again, some key frames")
    # From the start on, when they ask as often as they may: later the publisher's own of each second keep theirs away,
    # since nobody who asks after each key frame has another one asked for within 2 s.
    most = MEASURE_S / KEYFRAME_EVERY_S + 2
    turns = MEASURE_S / 0.005 * 2
    measured(
        asked <= most,
        f"of some {turns:.0f} requests for a key frame in {MEASURE_S} s, and more before, {asked:.0f} reached "
        f"the publisher ({most:.0f} are allowed)",
    )
    most = SHARE * media + SUBSCRIBERS * (BURST_BYTES / DATAGRAM_BYTES_MIN + 1)
    measured(
        resent <= most,
        f"{resent:.0f} packets were sent again ({SHARE:.0%} and {BURST_BYTES >> 10} KiB for each subscriber are "
        f"allowed: {most:.0f})",
    )
    allowed = (1 + SHARE) * media * DATAGRAM_BYTES + SUBSCRIBERS * (BURST_BYTES + DATAGRAM_BYTES)
    measured(
        came <= allowed,
        f"{came / 1e6:.1f} MB came for {cost / 1e6:.1f} MB of requests, the media that anybody would get among them "
        f"({allowed / 1e6:.1f} MB are allowed)",
    )
    measured(code == 0 and lost(other) == 0, f"a call beside it lost {lost(other):g} %")


scenario("abuse", act, timeout_s=50)
