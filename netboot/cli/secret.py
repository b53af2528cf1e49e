"""``netboot secret``: the secret by which a server knows its PCs' boots."""

import json

from netboot.cli.common import DEFAULT_STATE, JsonOption, StateOption
from netboot.cli.feeds import state_of
from netboot.cli.verbs import App

app = App(
    help="Replace the secret by which the servers of a room know the boots of their PCs.",
    no_args_is_help=True,
)


@app.command(
    epilog="Examples:  sudo netboot secret rotate  |  "
    "sudo netboot secret rotate --state /srv/room/state --json"
)
def rotate(
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Make a new secret. A running server takes it up within seconds, and no PC notices.

    The previous secret is accepted for a day, and one before that no more. Boot every PC once
    within that day. A PC that does not boot keeps its swap, but it gets no orders and no root image
    afterwards.
    """
    from netboot.serve.secret import DAY_SECONDS, SECRET_FILE, rotate

    path = state_of(state) / SECRET_FILE
    before = rotate(path)
    if as_json:
        told = {"secret": str(path), "accepted_seconds": DAY_SECONDS}
        print(json.dumps({**told, "forgotten_at_once": bool(before.previous)}))
        return
    print(f"{path}: a new secret; a running server takes it up within seconds")
    print("the previous one is accepted for a day: boot every PC once within it")
    if before.previous:
        print("the one before that is forgotten: PCs that booted with it have to boot again")
    print("other servers of the room, and panels on other machines, need a copy of the new one")
