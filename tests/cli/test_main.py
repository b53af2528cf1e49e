"""The command: its exit statuses, its one-line messages, its dry run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from netboot import __version__
from tests import ROOT

pytestmark = pytest.mark.system

LAB = str(ROOT / "profiles/lab.yaml")


def netboot(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netboot", *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=30, cwd=folder
    )


def test_a_mistyped_key_is_one_line_and_status_2(tmp_path: Path) -> None:
    profile = tmp_path / "bad.yaml"
    profile.write_text("swap: {sizee: 1GiB}\n")
    done = netboot("check", "--profile", str(profile))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{profile}:1: key 'swap.sizee': unknown key; did you mean 'size'?\n"


def test_check_and_schema() -> None:
    assert netboot("check", "--profile", LAB).returncode == 0
    assert json.loads(netboot("schema").stdout)["title"] == "netboot profile"


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_one_line(option: str) -> None:
    done = netboot(option)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"netboot {__version__}\n", "")


@pytest.mark.parametrize("words", [("check",), ("check", "--profile", "lab.yaml")])
def test_a_profile_without_a_folder_is_found_from_anywhere(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    done = netboot(*words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, f"netboot: profile {LAB}\n")
    (tmp_path / "lab.yaml").write_text("swap: {size: 1GiB}\n")
    done = netboot(*words, folder=tmp_path)
    named = len(words) > 1
    assert done.stdout.partition(":")[0] == ("lab.yaml" if named else LAB)
    assert done.stderr == ("" if named else f"netboot: profile {LAB}\n")


def test_check_warns_of_secure_boot_beside_another_dhcp_server(tmp_path: Path) -> None:
    profile = tmp_path / "lan.yaml"
    profile.write_text(
        "dhcp: {mode: proxy}\ngroups: {new: {match: ['02:*'], boot: {loader: signed}}}\n"
    )
    done = netboot("check", "--profile", str(profile))
    assert done.returncode == 0
    assert done.stderr.startswith(f"{profile}: warning: key 'groups.new.boot.loader': signed with ")
    assert done.stderr.count("\n") == 1
    full = ["--set", "dhcp.mode=full", "--set", "dhcp.range=10.77.0.10-10.77.0.99"]
    assert netboot("check", "--profile", str(profile), *full).stderr == ""


def test_check_looks_for_root_images() -> None:
    image = ["--set", "root.image=/nowhere/root.squashfs"]
    done = netboot("check", "--profile", LAB, *image)
    assert done.returncode == 2
    assert done.stderr.startswith("image /nowhere/root.squashfs: No such file or directory\n")


@pytest.mark.parametrize(
    ("arch", "loader"), [("bios", "auto"), ("uefi-x64", "auto"), ("bios", "ipxe")]
)
def test_the_dry_run_shows_answers_and_no_secret(arch: str, loader: str) -> None:
    words = ("--mac", "52-54-00-12-34-56", "--arch", arch, "--set", f"boot.loader={loader}")
    done = netboot("plan", "--profile", LAB, *words, "--json")
    answers = {part["to"]: part["answer"] for part in json.loads(done.stdout)["answers"]}
    offer = answers["firmware's DHCPDISCOVER, port 67"]
    assert offer.startswith("DHCPOFFER to 255.255.255.255 port 68")
    assert ("option 43" in offer) == (arch == "bios")
    assert ("firmware's DHCPREQUEST, port 4011" in answers) == (arch == "uefi-x64")
    assert f"file     {arch}.ipxe" in answers["iPXE's DHCPDISCOVER, port 67"]
    script = answers[f"HTTP GET /boot/52:54:00:12:34:56/{arch}.ipxe"]
    assert "netboot.token=<token>" in script and "netboot.ticket=<session>" in script


@pytest.mark.parametrize(
    ("arch", "loader", "platform"),
    [("uefi-x64", "signed", "x86_64-efi"), ("uefi-ia32", "auto", "i386-efi")],
)
def test_the_dry_run_of_a_grub(arch: str, loader: str, platform: str) -> None:
    words = ("--mac", "52-54-00-12-34-56", "--arch", arch, "--set", f"boot.loader={loader}")
    done = netboot("plan", "--profile", LAB, *words)
    assert "file     boot/" in done.stdout
    assert ("TFTP read of grub/grub.cfg" in done.stdout) == (loader == "signed")
    assert f"TFTP read of boot/52:54:00:12:34:56/{platform}.cfg" in done.stdout
    assert "netboot.token=<token>" in done.stdout and "netboot.ticket=<session>" in done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("plan", "--mac", "zz"), "--mac: expected a MAC address"),
        (("plan", "--mac", "52:54:00:12:34:56", "--arch", "bioss"), "did you mean 'bios'?"),
        (("check", "--profile", "/nowhere.yaml"), "/nowhere.yaml: there is no such profile"),
        (("check", "--profile", LAB, "--set", "swap.sice=1GiB"), "--set: key 'swap.sice'"),
        (("pages", "--export", "a"), "NAME=SIZE"),
        (("pages", "--export", "a=1GiB", "--listen", "nowhere"), "HOST:PORT"),
        (("pages", "--export", "a=1MiB", "--export", "a=2MiB"), "export 'a': given twice"),
        (("pages", "--image", "root"), "NAME=FILE"),
        (("pages", "--store", "disk:/nowhere"), "--store: there is no folder /nowhere"),
        (("pages", "--image", "root=/nowhere.img"), "image /nowhere.img: No such file"),
        (("pages", "--image", "root=/"), "image /: it is a directory"),
        (("lab", "--firmware", "bioss"), "bioss"),
        (("order", "shutdown", "52:54:00:12:34:56"), "order: expected reboot, poweroff, message, "),
        (("serv",), "serve"),
        (("check", "room.yaml"), "did you mean --profile room.yaml?"),
        (("serve", "--profile", "lba.yaml"), "did you mean 'lab.yaml'?"),
    ],
)
def test_a_mistake_at_the_keyboard_is_status_2_without_a_traceback(
    words: tuple[str, ...], complaint: str
) -> None:
    done = netboot(*words)
    assert done.returncode == 2
    assert complaint in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "verb", ["serve", "build", "media", "check", "schema", "plan", "pages", "status", "lab"]
)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    text = netboot(verb, "--help").stdout
    assert "Example" in text and f"netboot {verb}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (
            "netboot.cli.main",
            {"aiohttp", "asyncio", "ctypes", "pydantic", "rich", "ssl", "yaml", "tftpy"},
        ),
        (
            "netboot.serve.services, netboot.cli.checks, netboot.cli.telling, netboot.cli.room_lines",
            {"netboot.deploy.doctor", "netboot.lab.rig", "rich", "tftpy"},
        ),
        (
            "netboot.pages.static",
            {"aiohttp", "pydantic", "rich", "typer", "yaml", "tftpy"},
        ),
        ("netboot.pages.worker.worker", {"asyncio", "pydantic", "typer"}),
        ("netboot.serve.tftp.worker", {"asyncio", "pydantic", "typer"}),
    ],
)
def test_what_must_be_back_at_once_imports_little(modules: str, heavy: set[str]) -> None:
    """Clients wait while a killed page server or worker starts again."""
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert heavy & set(done.stdout.split()) == set()


def test_check_as_json(tmp_path: Path) -> None:
    done = netboot("check", "--profile", LAB, "--json", "--set", "swap.capacity=900000TiB")
    found = json.loads(done.stdout)
    assert (done.returncode, found["profile"], found["mistakes"]) == (0, LAB, [])
    assert found["warnings"][0].startswith("key 'swap.capacity': 9e+05 TiB is promised")
    done = netboot("check", "--profile", LAB, "--json", "--set", "swap.sice=1")
    assert done.returncode == 2 and done.stderr == ""
    assert "unknown key" in json.loads(done.stdout)["mistakes"][0]


def test_plan_says_that_an_address_is_made_up() -> None:
    plan = ("plan", "--profile", LAB, "--mac", "52:54:00:12:34:56")
    assert "192.0.2.1 stands for the server's address; --server" in netboot(*plan).stderr
    assert netboot(*plan, "--server", "10.0.0.1").stderr == ""
