"""A QMP client that passes a listening socket to the daemon, has the NBD server use it, and asks it for a size.

usage: passing.py MONITOR SOCKET EXPORT-NODE; prints the size that NBD tells, then what a second use of the name is told."""

import array
import json
import socket
import subprocess
import sys

monitor, path, node = sys.argv[1:]
client = socket.socket(socket.AF_UNIX)
client.connect(monitor)
lines = client.makefile("r")
lines.readline()


def ask(command, arguments=None, descriptor=None):
    text = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
    passed = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    client.sendmsg([text], passed)
    while True:
        reply = json.loads(lines.readline())
        if "event" not in reply:
            return reply


ask("qmp_capabilities")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
address = {"addr": {"type": "fd", "data": {"str": "l"}}}
for reply in (
    ask("getfd", {"fdname": "l"}, listener.fileno()),
    ask("nbd-server-start", address),
    ask("block-export-add", {"type": "nbd", "id": "passed", "node-name": node}),
):
    assert reply == {"return": {}}, reply
# What is refused leaves the descriptor where it is.
assert ask("getfd", {"fdname": "l"}, listener.fileno()) == {"return": {}}
assert ask("nbd-server-start", address)["error"]["desc"] == "NBD server already running"
assert ask("closefd", {"fdname": "l"}) == {"return": {}}
listener.close()
uri = f"nbd+unix:///{node}?socket={path}"
print(subprocess.run(["nbdinfo", "--size", uri], check=True, capture_output=True, text=True).stdout.strip())
ask("nbd-server-stop")
print(ask("nbd-server-start", address)["error"]["desc"])
