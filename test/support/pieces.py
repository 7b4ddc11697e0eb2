# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab.

pieces.py serve PORT: answers each datagram with its length and a digest.
pieces.py ask: sends datagrams in pieces, in the order that standard input says as JSON
  {source, target, port, bytes, cut, attempts, order: [[datagram, piece], ...]}; bytes of a datagram's payload, of which each
  piece but the last carries `cut` (a multiple of 8). Tries again until all are answered, with new identifications, and prints
  who answered each; null: nobody.
"""

import hashlib
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time

WAIT_S = 1.5


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def digest(data):
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()


def serve(port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    print("listening", flush=True)
    while True:
        data, client = listener.recvfrom(65535)
        listener.sendto(digest(data), client)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def udp(source, target, source_port, port, payload):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source_port, port, length, 0)
    pseudo = packed + struct.pack("!II", length, socket.IPPROTO_UDP)
    return struct.pack("!HHHH", source_port, port, length, checksum(pseudo + header + payload)) + payload


def piece(source, target, body, identification, offset, more):
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    if len(ends) == 8:
        field = (0x2000 if more else 0) | offset // 8
        number = identification & 0xFFFF or 1
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, field, 64, 17, 0) + ends + body
    fragment = struct.pack("!BBHI", 17, 0, offset | more, identification)
    return struct.pack("!IHBB", 6 << 28, 8 + len(body), 44, 64) + ends + fragment + body


def send_all(wire, question, port, payloads):
    source, target, cut = question["source"], question["target"], question["cut"]
    ids = [int.from_bytes(os.urandom(4), "big") for _ in payloads]
    for which, number in question["order"]:
        whole = udp(source, target, port, question["port"], payloads[which])
        offset = number * cut
        body = whole[offset : offset + cut]
        assert body, f"datagram {which} has no piece {number}"
        wire.sendto(piece(source, target, body, ids[which], offset, offset + cut < len(whole)), (target, 0))


def ask(question):
    family = family_of(question["target"])
    wire = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.bind((question["source"], 0))
    count = 1 + max(which for which, _ in question["order"])
    payloads = [os.urandom(question["bytes"]) for _ in range(count)]
    wanted = [digest(payload) for payload in payloads]
    answers = [None] * count
    for _ in range(question["attempts"]):
        send_all(wire, question, client.getsockname()[1], payloads)
        deadline = time.monotonic() + WAIT_S
        while None in answers and select.select([client], [], [], max(0, deadline - time.monotonic()))[0]:
            data, server = client.recvfrom(65535)
            if data in wanted:
                answers[wanted.index(data)] = server[0]
        if None not in answers:
            break
    print(json.dumps(answers))


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
ask(json.load(sys.stdin))
