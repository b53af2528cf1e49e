"""The agreement of a server and its panels besides the records: names of files, paths, orders. Pure."""

from typing import Literal

SOCKET_FILE, KEY_FILE = "feed.sock", "panel.key"  # in the state folder, or systemd's runtime folder
PANEL_FOLDER = "panel"  # there, with the files of the panel that it starts
FEED_PATH, ORDERS_PATH = "/feed", "/feed/orders"  # of HTTP
DRAIN_PATH = "/feed/drain"  # GET: how far it is; POST with ?do=drain or undrain, and ?by=PERSON

OrderName = Literal[
    "reboot", "poweroff", "message", "identify", "wake", "end-lease", "image", "loader", "entry"
]
BY_SECRET = ("reboot", "poweroff")  # orders that the room's secret gives, too, without a feed
MAX_TEXT, MAX_NAME = 200, 64  # characters of a message, and of another text of an order
