"""A WebSocket that broke the protocol is told why before its connection ends.

Boundary: uvicorn's WebSocket protocol, one connection at a time.
Invariants: the close frame and the end of our side are sent at once; what the client still sends is read and thrown
away until its own end, or for LINGER_S, whichever comes first; nothing of it reaches the application.
Source: RFC 6455, 7.1.1 and 7.1.7. Closing a TCP connection with unread bytes resets it, and the reset overtakes the
close frame: the client would see a broken connection (1006) instead of its mistake (1009, a message too big).
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_S = 2.0
"""How long a client that goes on sending is read after its mistake; it is closed on then."""


class LingeringProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's own, but for a client whose frames cannot be read."""

    _lingers = False

    def data_received(self, data: bytes) -> None:
        """Bytes of the client; thrown away once it broke the protocol."""
        if not self._lingers:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Tell the application and the client that it is over, and why; read on for a while."""
        self._lingers = True
        closing = self.conn.close_sent
        assert closing is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closing.code, "reason": closing.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)
