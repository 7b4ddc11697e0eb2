# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab: peers that speak enough SCTP for its ports and its checksum, over raw sockets, for the machine has
no SCTP.

sctp.py serve PORT: sends each sound packet to that port back.
sctp.py ask: {source, target, port, bytes} from standard input as JSON; prints the address that has sent the same bytes back
  from that port, in a sound packet, or null.
"""

import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time

SCTP = 132
SOURCE_PORT = 40123
ATTEMPTS, WAIT_S = 4, 1


def crc32c(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return ~register & 0xFFFFFFFF


def packet(source_port, port, payload):
    header = struct.pack("!HHI", source_port, port, 7)
    checksum = struct.pack("<I", crc32c(header + bytes(4) + payload))
    return header + checksum + payload


def parse(family, data):
    """Ports and payload of a sound packet, else None."""
    body = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
    source_port, port = struct.unpack("!HH", body[:4])
    if struct.pack("<I", crc32c(body[:8] + bytes(4) + body[12:])) != body[8:12]:
        return None
    return source_port, port, body[12:]


def serve(own_port):
    wires = {socket.socket(family, socket.SOCK_RAW, SCTP): family for family in (socket.AF_INET, socket.AF_INET6)}
    print("listening", flush=True)
    while True:
        for wire in select.select(list(wires), [], [])[0]:
            data, client = wire.recvfrom(65535)
            sound = parse(wires[wire], data)
            if sound and sound[1] == own_port:
                wire.sendto(packet(own_port, sound[0], sound[2]), (client[0], 0))


def ask(question):
    family = socket.AF_INET6 if ipaddress.ip_address(question["target"]).version == 6 else socket.AF_INET
    wire = socket.socket(family, socket.SOCK_RAW, SCTP)
    wire.bind((question["source"], 0))
    payload = os.urandom(question["bytes"])
    for _ in range(ATTEMPTS):
        wire.sendto(packet(SOURCE_PORT, question["port"], payload), (question["target"], 0))
        deadline = time.monotonic() + WAIT_S
        while select.select([wire], [], [], max(0, deadline - time.monotonic()))[0]:
            data, server = wire.recvfrom(65535)
            if parse(family, data) == (question["port"], SOURCE_PORT, payload):
                return server[0]
    return None


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
print(json.dumps(ask(json.load(sys.stdin))))
