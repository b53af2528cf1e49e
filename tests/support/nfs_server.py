"""An NFS server in user space (nfs-ganesha) for one folder, in the network namespace of its caller."""

import subprocess
from pathlib import Path

CONFIG = """
NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false;
    Enable_UDP = False; }}
NFSv4 {{ Minor_Versions = 1, 2; Graceless = true; Only_Numeric_Owners = true;
    RecoveryRoot = "{folder}/recovery"; }}
EXPORT {{ Export_Id = 1; Path = {export}; Pseudo = {name}; Access_Type = RW; Squash = Root_Squash;
    SecType = sys; Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
"""
# It writes to /run, which is the machine's.
START = "mount -t tmpfs tmpfs /run && mkdir -p /run/ganesha && exec ganesha.nfsd"


class NfsServer:
    """Serves the folder ``export`` as ``name``; ``folder`` is for its own files. Trusts no root."""

    def __init__(self, folder: Path, export: Path, name: str) -> None:
        self.folder = folder
        (folder / "recovery").mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(folder=folder, export=export, name=name)
        (folder / "ganesha.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. It answers some seconds later."""
        options = f"-F -L {self.folder}/log -p {self.folder}/pid -f {self.folder}/ganesha.conf"
        command = ["unshare", "--mount", "sh", "-c", f"{START} {options}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it as a power cut does, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
