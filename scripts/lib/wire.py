"""Clients of a daemon's two sockets, for scripts that load and time it: NBD with many requests in flight, and QMP."""
import json, socket, struct, time

READ, WRITE, FLUSH, TRIM, ZEROES = 0, 1, 3, 4, 6
FUA, NO_HOLE = 1, 2


class Lost(Exception):
    """The connection is gone."""


class Stream:
    def __init__(self, path, seconds):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.buffer = bytearray()
        self.attempt(self.socket.connect, path)

    def attempt(self, call, *arguments):
        try:
            return call(*arguments)
        except TimeoutError:
            raise
        except OSError as error:
            raise Lost(str(error)) from None

    def fileno(self):
        return self.socket.fileno()

    def send(self, data):
        self.attempt(self.socket.sendall, data)

    def receive(self):
        data = self.attempt(self.socket.recv, 1 << 20)
        if not data:
            raise Lost("closed")
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.receive()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data


class NBD(Stream):
    def __init__(self, path, name, seconds=20):
        super().__init__(path, seconds)
        self.cookie = 0
        if self.take(18)[:16] != b"NBDMAGICIHAVEOPT":
            raise Lost("no greeting")
        name = name.encode()
        go = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self.send(struct.pack(">I8sII", 3, b"IHAVEOPT", 7, len(go)) + go)
        kind = 3
        while kind == 3:
            _, _, kind, length = struct.unpack(">QIII", self.take(20))
            self.take(length)
        if kind != 1:
            raise Lost(f"option reply {kind:#x}")

    def request(self, kind, offset=0, length=0, data=b"", flags=0):
        """Sends a request and answers its cookie, also where the peer is gone: it may have got it."""
        self.send(self.message(kind, offset, length, data, flags))
        return self.cookie

    def message(self, kind, offset=0, length=0, data=b"", flags=0):
        """The bytes of a request with the next cookie, for whoever sends several at once."""
        self.cookie += 1
        return struct.pack(">IHHQQI", 0x25609513, flags, kind, self.cookie, offset, length) + data

    def replies(self):
        """The replies that have come, as (cookie, error); waits for the next bytes. None of them belongs to a read."""
        self.receive()
        while len(self.buffer) >= 16:
            _, error, cookie = struct.unpack(">IIQ", self.take(16))
            yield cookie, error

    def read(self, offset, length):
        self.request(READ, offset, length)
        _, error, _ = struct.unpack(">IIQ", self.take(16))
        if error:
            raise OSError(error, f"read at {offset}")
        return self.take(length)

    def flush(self):
        self.request(FLUSH)
        _, error, _ = struct.unpack(">IIQ", self.take(16))
        if error:
            raise OSError(error, "flush")


class Monitor(Stream):
    def __init__(self, path, seconds=20):
        super().__init__(path, seconds)
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        words = {"execute": name, "id": name}
        if arguments:
            words["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.send(json.dumps(words).encode() + b"\n")

    def messages(self):
        """The messages that have come; waits for the next bytes."""
        self.receive()
        while b"\n" in self.buffer:
            yield json.loads(self.take(self.buffer.index(b"\n") + 1))

    def answer(self, name, **arguments):
        """What a command returns; events before it are passed over."""
        self.command(name, **arguments)
        while True:
            for message in self.messages():
                if message.get("id") == name:
                    return message["return"]
