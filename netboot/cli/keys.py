"""``netboot keys``: the keys of the operator's own, for PCs with Secure Boot."""

import json

from netboot.cli.common import DEFAULT_STATE, JsonOption, StateOption
from netboot.cli.feeds import state_of
from netboot.cli.verbs import App

app = App(
    help="Keys of your own for PCs with Secure Boot: this server then signs what they boot.",
    no_args_is_help=True,
)


@app.command(
    epilog="Examples:  sudo netboot keys init  |  "
    "sudo netboot keys init --state /var/lib/netboot --json"
)
def init(
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Make the keys, once for a room. Keys that are there are not replaced.

    The next start of the server signs an image with them. Each PC must know the certificate: enrol the
    .cer file in its firmware (db), or at the screen of shim's MokManager.
    """
    from netboot.serve import own_keys

    keys = own_keys.make(state_of(state))
    path, pem = keys.state / own_keys.IMAGE_CER, keys.state / own_keys.IMAGE_PEM
    if as_json:
        secret = [str(keys.state / name) for name in own_keys.FILES if name.endswith(".key")]
        print(json.dumps({"certificate": str(path), "pem": str(pem), "secret": secret}))
        return
    print(f"{path}: the certificate to enrol in each PC: copy it to a USB stick")
    print(f"{pem}: the same for tools that want PEM, such as virt-fw-vars")
    print("restart the server: it signs its boot image with the new key at its start")
    print("a second boot server of the room needs a copy of the files own-*")
