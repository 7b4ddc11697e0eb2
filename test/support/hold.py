# SPDX-License-Identifier: Apache-2.0
"""Connections that are held open and used again and again.

    hold.py serve PORT                 answers each line of a TCP connection with the line and the client's address
    hold.py hold HOST PORT COUNT TAG   opens COUNT connections, prints "held"; then for each line on standard input sends
                                       a line over every one and prints how many came back as its own, and how many
                                       different client addresses the server saw
"""

import asyncio
import resource
import sys


async def answer(reader, writer):
    host, port = writer.get_extra_info("peername")[:2]
    while line := await reader.readline():
        writer.write(line.rstrip() + f" {host} {port}\n".encode())
        await writer.drain()
    writer.close()


async def serve(port):
    server = await asyncio.start_server(answer, None, port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


async def exchange(connection, text):
    reader, writer = connection
    writer.write(f"{text}\n".encode())
    try:
        said, *client = (await asyncio.wait_for(reader.readline(), 20)).decode().split()
        return tuple(client) if said == text else None
    except (OSError, ValueError, asyncio.TimeoutError):
        return None


async def hold(host, port, count, tag):
    connections = []
    for start in range(0, count, 100):
        batch = range(start, min(count, start + 100))
        connections += await asyncio.gather(*(asyncio.open_connection(host, port) for _ in batch))
    print("held", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        clients = await asyncio.gather(*(exchange(each, f"{tag}-{at}") for at, each in enumerate(connections)))
        whole = [client for client in clients if client]
        print(len(whole), len(set(whole)), flush=True)


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
kind, *arguments = sys.argv[1:]
if kind == "serve":
    asyncio.run(serve(int(arguments[0])))
else:
    asyncio.run(hold(arguments[0], int(arguments[1]), int(arguments[2]), arguments[3]))
