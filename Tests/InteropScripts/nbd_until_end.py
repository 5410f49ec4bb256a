"""An NBD client that enters an export and then waits for the server to end the connection.

usage: nbd_until_end.py SOCKET EXPORT; makes the file SOCKET.in once it is in."""

import socket
import struct
import sys

path, export = sys.argv[1:]
client = socket.socket(socket.AF_UNIX)
client.connect(path)
client.settimeout(30)
assert client.recv(18, socket.MSG_WAITALL)[:8] == b"NBDMAGIC"
client.sendall(struct.pack(">I", 3))
name = export.encode()
client.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
assert len(client.recv(10, socket.MSG_WAITALL)) == 10
open(path + ".in", "w").close()
assert client.recv(1) == b""
