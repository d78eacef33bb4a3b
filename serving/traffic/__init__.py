"""Traffic: plays a pack's audio through the production API as users would, and tells what labelled probes heard.

Boundary: sessions.py says who visits and what they do, playing.py does it over HTTP and WebSocket, summary.py counts.
Source: release-algorithm R7, R7.8; coverage rows 23 and 50.
"""

from serving.traffic.playing import CountProbe, play
from serving.traffic.sessions import Habits, Session, Turn, Utterance, habits_of, sessions, utterances_of
from serving.traffic.summary import TrafficSummary, quantiles

__all__ = [
    "CountProbe",
    "Habits",
    "Session",
    "TrafficSummary",
    "Turn",
    "Utterance",
    "habits_of",
    "play",
    "quantiles",
    "sessions",
    "utterances_of",
]
