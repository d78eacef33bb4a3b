"""The WebSockets of the production API as an AsyncAPI 3.0 document.

Boundary: pure; schemas come from contracts/serving_api.py.
Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0.
Invariants: every message of a channel is one of the components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, get_args

from pydantic import BaseModel

from contracts import serving_api as api
from contracts.serving_api import MAX_FRAME_BYTES, STATUS, ErrorCode
from serving.documented import ERRORS, READ_HEADERS, Json, an_object, info_of, reference, schemas_of
from serving.objectives import Objectives

MESSAGES: dict[str, tuple[type[BaseModel], str]] = {
    "start": (api.StreamStart, "The first message."),
    "control": (api.StreamControl, "`end`, `cancel` or `barge_in`, between frames."),
    "ready": (api.StreamReady, "The stream is open."),
    "partial": (api.PartialResult, "A hypothesis; its first `committed` words never change again."),
    "restarted": (api.StreamRestarted, "A barge-in was taken."),
    "final": (api.FinalResult, "The transcript; the stream is closed with 1000."),
    "cancelled": (api.StreamCancelled, "The client cancelled; the stream is closed with 1000."),
    "error": (api.StreamError, "The stream ends without a final; it is closed with 1008, or 1011 where we failed."),
    "speechStart": (api.SpeechStart, "The first message, and the text to say."),
    "speechReady": (api.SpeechReady, "The text will be said; frames of audio follow."),
    "speechDone": (api.SpeechDone, "All was sent; the connection is closed with 1000."),
    "assistantStart": (api.AssistantStart, "The first message."),
    "assistantReady": (api.AssistantReady, "The dialogue is open."),
    "assistantReply": (api.AssistantReply, "What was understood and what is answered; its speech follows."),
    "assistantDone": (api.AssistantDone, "The turn is over."),
}
FRAMES = ("audio", "speech")
"""Binary messages: what a client says, and what a model says."""

_FROM_CLIENTS = "A handshake is refused with the errors of the HTTP API."


class Channel(NamedTuple):
    """A WebSocket: what it is for, and who says what on it."""

    address: str
    title: str
    description: str
    client: tuple[str, ...]
    server: tuple[str, ...]
    operations: tuple[str, str]


CHANNELS: dict[str, Channel] = {
    "stream": Channel(
        "/v1/audio/stream",
        "One utterance, or several after barge-ins",
        "Client: `start`, then `audio` and `control` until `end`. Server: `ready`, then `partial`s, and a `restarted` "
        "after each barge-in, then one `final`, `cancelled` or `error`. What was dropped by a barge-in is never in a "
        "later message; times are seconds of the stream's audio. After `end` only a `cancel` is heard. A client that "
        "sends faster than the model hears is made to wait; one that does not read, or sends nothing, is left after "
        "the deadline. Partials may be left out while the service is degraded, a final never.",
        ("start", "control", "audio"),
        ("ready", "partial", "restarted", "final", "cancelled", "error"),
        ("hear", "answer"),
    ),
    "speech": Channel(
        "/v1/audio/speech/stream",
        "One text to be said",
        "Client: `speechStart`; a `cancel` at any time. Server: `speechReady`, then binary frames of speech while it "
        "is made, then `speechDone`, `cancelled` or `error`. No more is made than the client reads.",
        ("speechStart", "control"),
        ("speechReady", "speech", "speechDone", "cancelled", "error"),
        ("read", "speak"),
    ),
    "assistant": Channel(
        "/v1/assistant",
        "A dialogue, turn by turn",
        "Client: `assistantStart`, then for each turn `audio` and an `end`. Server: `assistantReady`, then for each "
        "turn `partial`s, one `assistantReply`, binary frames of speech, `assistantDone`. What a client sends between "
        "its `end` and the turn's end is not heard, but for a `barge_in`: what is being said or was heard is dropped "
        "at once, `restarted` says so, and the next turn begins with the next frame; speech that comes before "
        "`restarted` belongs to the turn that was left. A `cancel` ends the dialogue. All turns stay on one bundle.",
        ("assistantStart", "control", "audio"),
        ("assistantReady", "partial", "assistantReply", "speech", "assistantDone", "restarted", "cancelled", "error"),
        ("listen", "reply"),
    ),
}


def _messages() -> Json:
    messages: Json = {
        name: {
            "contentType": "application/json",
            "summary": summary,
            "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": reference(model)},
        }
        for name, (model, summary) in MESSAGES.items()
    }
    rates = {"audio": "`start.sample_rate`", "speech": "the rate that the server's first message says"}
    advice = "; frames of 100 ms (20 to 200 ms) give early partials at little cost"
    for name in FRAMES:
        messages[name] = {
            "contentType": "audio/L16",
            "summary": (
                f"A binary frame: little-endian signed 16-bit mono PCM at {rates[name]}, whole samples, at most "
                f"{MAX_FRAME_BYTES} bytes{advice if name == 'audio' else ''}."
            ),
            "payload": {"type": "string", "format": "binary"},
        }
    return messages


def _handshake() -> Json:
    read = {
        name: {"type": "string", **said.get("schema", {}), "description": said["description"]}
        for name, said in READ_HEADERS.items()
    }
    return {"Authorization": {"type": "string", "description": "Bearer KEY"}, **read}


def _channel(channel: Channel) -> Json:
    names = dict.fromkeys((*channel.client, *channel.server))
    return {
        "address": channel.address,
        "title": channel.title,
        "description": f"{channel.description} {_FROM_CLIENTS}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": an_object({"model": {"type": "string", "description": "The family."}}, "model"),
                "headers": an_object(_handshake()),
                "bindingVersion": "0.1.0",
            }
        },
    }


def _operations(name: str, channel: Channel) -> Json:
    def operation(action: str, summary: str, messages: tuple[str, ...]) -> Json:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in messages],
        }

    hears, says = channel.operations
    return {
        hears: operation("receive", "What a client says.", channel.client),
        says: operation("send", "What the gateway says.", channel.server),
    }


def asyncapi(objectives: Mapping[str, Objectives] | None = None) -> Json:
    """The WebSocket side."""
    operations: Json = {}
    for name, channel in CHANNELS.items():
        operations |= _operations(name, channel)
    return {
        "asyncapi": "3.0.0",
        "info": info_of("Soundcheck: streaming speech", objectives or {}),
        "defaultContentType": "application/json",
        "channels": {name: _channel(channel) for name, channel in CHANNELS.items()},
        "operations": operations,
        "components": {
            "messages": _messages(),
            "schemas": schemas_of(tuple(model for model, _ in MESSAGES.values())),
        },
        "x-errors": {code: {"status": STATUS[code], "means": ERRORS[code]} for code in get_args(ErrorCode)},
    }
