# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab: send-frames.py DEVICE DESTINATION_MAC HEX...

Sends Ethernet frames as they are, but for the addresses of their Ethernet header: to DESTINATION_MAC, from the device's.
"""

import socket
import sys

device, mac = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", ""))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
own = wire.getsockname()[4]
for frame in sys.argv[3:]:
    wire.send(mac + own + bytes.fromhex(frame)[12:])
