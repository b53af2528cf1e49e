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
    .cer file in its firmware (db), or at the screen of shim's MokManager. If files are missing of an
    earlier time, the command makes those that can be made again.
    """
    from netboot.serve import own_keys

    folder = state_of(state)
    was_there = all((folder / name).exists() for name in own_keys.IMAGE_PAIR)
    keys = own_keys.make(folder)
    path, pem, esl = (
        keys.state / name for name in (own_keys.IMAGE_CER, own_keys.IMAGE_PEM, own_keys.IMAGE_ESL)
    )
    if as_json:
        secret = [str(keys.state / name) for name in own_keys.FILES if name.endswith(".key")]
        row = {"certificate": str(path), "pem": str(pem), "esl": str(esl), "secret": secret}
        print(json.dumps(row))
        return
    if was_there:
        print(
            f"{keys.state}: made what was missing; the certificate of images is the same as before"
        )
    print(f"{path}: the certificate to enrol in each PC: copy it to a USB stick")
    print(f"{esl}: the same for firmware that wants an EFI signature list")
    print(f"{pem}: the same for tools that want PEM, such as virt-fw-vars")
    print("restart the server: it signs its boot image with the new key at its start")
    print("a second boot server of the room needs a copy of the files own-*")
