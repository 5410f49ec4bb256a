#!/usr/bin/env python3
"""Snapshots a served disk COUNT times over QMP while somebody else writes to it.

usage: story.py SOCKET FOLDER BASE SIZE COUNT PAUSE

The node `disk` of the daemon is snapshotted by blockdev-snapshot-sync and by blockdev-snapshot in turn; for the latter
qemu-img creates the overlay and blockdev-add opens it. New images go into FOLDER; the name of the last one is printed.
"""
import asyncio
import subprocess
import sys

from qemu.qmp import QMPClient


async def snapshot_sync(client, node, overlay, file):
    await client.execute(
        "blockdev-snapshot-sync",
        {"node-name": node, "snapshot-file": file, "snapshot-node-name": overlay, "format": "qcow2"},
    )


async def snapshot(client, node, overlay, file, backing, backing_format, size):
    create = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", backing_format, file, size]
    subprocess.run(create, check=True)
    await client.execute("blockdev-add", {"driver": "file", "node-name": overlay + "-file", "filename": file})
    await client.execute(
        "blockdev-add",
        {"driver": "qcow2", "node-name": overlay, "file": overlay + "-file", "backing": None},
    )
    await client.execute("blockdev-snapshot", {"node": node, "overlay": overlay})


async def exported_node(client):
    exports = await client.execute("query-block-exports")
    return exports[0]["node-name"]


async def main(socket, folder, base, size, count, pause):
    client = QMPClient("story")
    await client.connect(socket)
    node, file = "disk", base
    for index in range(count):
        overlay = f"top{index}"
        new = f"{folder}/{overlay}.qcow2"
        if index % 2 == 0:
            await snapshot_sync(client, node, overlay, new)
        else:
            await snapshot(client, node, overlay, new, file, "qcow2", size)
        seen = await exported_node(client)
        if seen != overlay:
            raise SystemExit(f"the export is on {seen}, not on {overlay}")
        node, file = overlay, new
        await asyncio.sleep(pause)
    nodes = await client.execute("query-named-block-nodes", {"flat": True})
    if not all(any(n["node-name"] == f"top{i}" for n in nodes) for i in range(count)):
        raise SystemExit("an overlay is missing among the nodes")
    await client.disconnect()
    print(file)


asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
