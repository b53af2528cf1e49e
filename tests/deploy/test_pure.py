"""Decisions without I/O: hosts, hardware, boot orders, profiles, tables."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from netboot.cli import show
from netboot.deploy import bootorder, classroom, doctor, hardware, roster, seats, sheet
from netboot.deploy.report import Outcome, table
from netboot.errors import OperatorError
from netboot.profile import file as profile_file

DATA = Path(__file__).parent / "data"
OVMF_MAC = "52:54:00:78:00:16"


def _variables(name: str) -> bootorder.BootVariables:
    return bootorder.parse_efibootmgr((DATA / f"efibootmgr-{name}.txt").read_text())


@pytest.mark.parametrize(
    ("name", "mac", "entry"),
    [
        ("17-ovmf", OVMF_MAC, "0003"),
        ("17-thinkpad", "28:d2:44:6b:1a:3c", "000D"),
        ("18-broadcom", "00:62:0b:01:42:09", "0002"),
    ],
)
def test_the_card_s_own_entry_for_ipv4_is_chosen(name: str, mac: str, entry: str) -> None:
    assert bootorder.network_entry(_variables(name), mac).number == entry


def test_another_card_s_entry_is_refused_and_one_that_is_switched_off() -> None:
    with pytest.raises(OperatorError, match="another card only: UEFI PXEv4"):
        bootorder.network_entry(_variables("17-ovmf"), "52:54:00:77:00:99")
    with pytest.raises(OperatorError, match="another card only: UEFI: PXE IPv4 Broadcom"):
        bootorder.network_entry(_variables("18-broadcom"), "00:62:0b:01:42:08")


def test_a_firmware_without_network_says_what_to_do() -> None:
    variables = bootorder.parse_efibootmgr("BootOrder: 0001\nBoot0001* debian\n")
    with pytest.raises(OperatorError, match="enable PXE"):
        bootorder.network_entry(variables, OVMF_MAC)
    with pytest.raises(OperatorError, match="no boot order"):
        bootorder.parse_efibootmgr("EFI variables are not supported on this system.\n")


def test_once_leaves_the_order_and_always_can_be_undone() -> None:
    before = _variables("17-ovmf")
    once = bootorder.efi_commands(before, OVMF_MAC, once=True)
    assert once == ["efibootmgr --quiet --bootnext 0003"]
    always = bootorder.efi_commands(before, OVMF_MAC, once=False)
    assert always == ["efibootmgr --quiet --bootorder 0003,0001,0000,0002,0004,0005,0006,0007"]
    after = replace(before, order=("0003", *(n for n in before.order if n != "0003")))
    undo = ["efibootmgr --quiet --bootorder 0001,0000,0002,0003,0004,0005,0006,0007"]
    assert bootorder.efi_restore(after, OVMF_MAC, ",".join(before.order)) == undo
    assert bootorder.efi_restore(before, OVMF_MAC, "") == []
    ours, update = replace(before, next="0003"), replace(before, next="0001")
    assert bootorder.efi_restore(ours, OVMF_MAC, "") == ["efibootmgr --quiet --delete-bootnext"]
    assert bootorder.efi_restore(update, OVMF_MAC, "") == [], "it is not ours"


@pytest.mark.parametrize(
    "custom",
    ["", "set timeout=3\n", "# mine\nmenuentry 'x' {\n}\n", f"{bootorder.BEGIN}\nset timeout=3\n"],
)
def test_grub_s_entry_comes_and_goes_and_leaves_the_rest(custom: str) -> None:
    once = bootorder.grub_entry(custom, once=True)
    always = bootorder.grub_entry(once, once=False)
    assert once.startswith(custom) and once.count("menuentry 'Boot from the network") == 1
    assert "set default" not in once and "set default=netboot" in always
    assert always.count("menuentry 'Boot from the network") == 1
    assert bootorder.without_entry(always) == custom


ANSWER = """hostname=old-07.school.example
ram_kib=2048000
cpu64=1
firmware=bios
card=enp2s0
mac=00:1E:37:AA:BB:CC
vendor=0x10ec
device=0x8168
driver=r8168
modules=r8169
"""


def test_a_pc_s_answer_is_read() -> None:
    found = hardware.parse(ANSWER)
    assert (found.hostname, found.mac, found.nic) == ("old-07", "00:1e:37:aa:bb:cc", "10ec:8168")
    assert str(found) == "2000 MiB, bios, amd64, 10ec:8168 r8168"
    assert hardware.problems(found, {"amd64": {"r8169", "e1000"}}) == [], (
        "its kernel knows a second driver"
    )
    with pytest.raises(OperatorError, match="unexpected answer to the hardware script: 'bash: no'"):
        hardware.parse("bash: no")


def test_one_wrong_seat_is_left_out_and_costs_the_others_nothing() -> None:
    good = seats.NewSeat("52:54:00:00:00:01", "pc-1", "10.0.0.11", "a PC")
    copied = seats.NewSeat("52:54:00:00:00:01", "pc-2", "10.0.0.12", "the same card")
    taken = seats.NewSeat("52:54:00:00:00:03", "pc-3", "10.0.0.11", "an address of another PC")
    named = seats.NewSeat("52:54:00:00:00:04", "pc-4", "server.example", "by its name")
    last = seats.NewSeat("52:54:00:00:00:05", "pc-5", "", "a PC")
    text = "# ours\n"
    profile = profile_file.parse(text, "room.yaml")

    def check(whole: str) -> None:
        profile_file.parse(whole, "room.yaml")

    given = [good, copied, taken, named, last]
    added, refused = seats.add_each(text, profile, given, check)
    assert list(profile_file.parse(added, "room.yaml").clients) == [good.mac, last.mac]
    assert refused.keys() == {copied, taken, named}
    assert "given twice" in refused[copied] and "room.yaml" not in refused[copied]
    assert seats.add_each(text, profile, [good, last], check) == (added, {})
    with pytest.raises(OperatorError, match="unknown key"):
        seats.add_each("swop: {}\n", profile, given, check)


@pytest.mark.parametrize("name", ["", "bad name!", "-x", "x: {a: b}", "\x1b[2J", "x" * 64])
def test_what_is_no_host_name_is_told(name: str) -> None:
    with pytest.raises(OperatorError, match="is none") as error:
        seats.check_hostname(name)
    assert str(error.value).isprintable()
    seats.check_hostname("lab-07")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("cpu64=1", ""), "add i386 to boot.architectures"),
        (("cpu64=1", "arm64=1"), "add arm64 to boot.architectures"),
        (("mac=00:1E:37:AA:BB:CC", ""), "no wired network card"),
        (("ram_kib=2048000", "ram_kib=60000"), "58 MiB of RAM"),
        (("cpu64=1", "cpu64=1\nsecure_boot=1"), "Secure Boot is on"),
        (("r8169", ""), "no driver for its network card (r8168)"),
    ],
)
def test_what_will_not_work_is_said(change: tuple[str, str], problem: str) -> None:
    found = hardware.problems(hardware.parse(ANSWER.replace(*change)), {"amd64": {"r8169"}})
    assert len(found) == 1 and problem in found[0]


def test_a_32_bit_pc_needs_images_of_its_own() -> None:
    found = hardware.parse(ANSWER.replace("cpu64=1", ""))
    assert hardware.problems(found, {"amd64": set(), "i386": {"r8169"}}) == []
    able = hardware.parse(ANSWER)
    assert hardware.problems(able, {"i386": {"r8169"}}) == []
    uefi = hardware.parse(ANSWER.replace("=bios", "=uefi"))
    assert len(hardware.problems(uefi, {"i386": {"r8169"}})) == 1
    assert len(hardware.problems(found, {"amd64": {"r8169"}, "i386": set()})) == 1


def test_hosts_of_the_command_line() -> None:
    one, two = roster.from_words("root@10.0.0.1:2222, pc7")
    assert (one.user, one.address, one.port) == ("root", "10.0.0.1", 2222)
    assert (two.user, two.address, two.port) == ("", "pc7", 22)
    with pytest.raises(OperatorError, match="expected .* found 'a b'"):
        roster.from_words("a b")
    for word in ("pc:0", "pc:65536", "a..b", f"{'x' * 64}.example"):
        with pytest.raises(OperatorError, match="expected .USER@.HOST"):
            roster.from_words(word)


def test_hosts_of_a_profile_with_their_users_and_keys() -> None:
    text = """ssh: {user: teacher, key: /k}
clients:
  00:1e:37:aa:bb:01: {hostname: a, address: 10.0.0.1}
  00:1e:37:aa:bb:02: {hostname: b, ssh: {user: root}}
"""
    a, b = roster.from_profile(profile_file.parse(text, "room.yaml"))
    assert (a.seat, a.address, a.mac, a.user, a.key) == (
        *("a", "10.0.0.1", "00:1e:37:aa:bb:01", "teacher", "/k"),
    )
    assert (b.seat, b.address, b.user, b.key) == ("b", "", "root", "/k")


def test_a_teacher_s_csv_is_read_and_each_mistake_is_a_line() -> None:
    text = "\ufeffSeat;MAC;Address\r\nrow1-01;00-1E-37-AA-BB-CC;10.0.0.11\r\n;;\r\n"
    (host,) = roster.from_csv(text, "room.csv")
    expected = ("row1-01", "00:1e:37:aa:bb:cc", "10.0.0.11")
    assert (host.seat, host.mac, host.address) == expected
    with pytest.raises(OperatorError) as failure:
        roster.from_csv("seat,mac,address\na,nonsense,10.0.0.1\nb_c,,10.0.0.300\n", "room.csv")
    first, second, third = str(failure.value).splitlines()
    assert first.startswith("room.csv:2: column 'mac': expected a MAC address")
    assert second.startswith("room.csv:3: column 'seat'") and "did you mean 'b-c'?" in second
    assert third.startswith("room.csv:3: column 'address'")
    with pytest.raises(OperatorError, match="expected the columns seat,mac,address, found "):
        roster.from_csv("seat\n", "room.csv")
    assert roster.from_csv(text.replace("\r\n", "\r"), "room.csv") == [host]
    with pytest.raises(OperatorError, match="room.csv:2: not CSV: field larger than"):
        roster.from_csv(f"seat,mac,address\n{'x' * 200_000},,\n", "room.csv")


HEAD, ROW = "seat,mac,address\n", "row1-01,00:1e:37:aa:bb:01,10.0.0.11\n"


@pytest.mark.parametrize(
    ("rows", "mistakes"),
    [
        ("ROW1-01,,10.0.0.12\n", ["3: seat ROW1-01 is in line 2 already"]),
        ("b,,10.0.0.11\n", ["3: address 10.0.0.11 is row1-01's (line 2) already"]),
        ("b,001E.37AA.BB01,\n", ["3: mac 00:1e:37:aa:bb:01 is row1-01's (line 2) already"]),
        (
            "\nb,x,10.0.0.12\nc,,10.0.0.11\nd,,10.0.0.12\ne,,10.0.0.12\n",
            [
                "4: column 'mac': expected a MAC address such as 52:54:00:12:34:56, found 'x'",
                "5: address 10.0.0.11 is row1-01's (line 2) already",
                "7: address 10.0.0.12 is d's (line 6) already",
            ],
        ),
        ("b,ff:ff:ff:ff:ff:ff,\n", ["3: column 'mac': expected a MAC address such as "]),
    ],
)
def test_rows_of_a_csv_that_repeat_each_other_are_told_with_both_lines(
    rows: str, mistakes: list[str]
) -> None:
    with pytest.raises(OperatorError) as failure:
        roster.from_csv(HEAD + ROW + rows, "room.csv")
    told = str(failure.value).splitlines()
    assert len(told) == len(mistakes)
    for line, mistake in zip(told, mistakes, strict=True):
        assert line.startswith(f"room.csv:{mistake}")


@pytest.mark.parametrize(
    "data",
    [
        (HEAD + ROW).encode(),
        (HEAD + ROW).replace(",", "\t").encode(),
        (HEAD + ROW).replace(",", ";").encode(),
        b"sep=;\r\n" + (HEAD + ROW).replace(",", ";").encode(),
        b'"sep=|"\n' + (HEAD + ROW).replace(",", "|").encode(),
        (HEAD + ROW).replace(",", "\t").encode("utf-16"),
        b"\xef\xbb\xbf" + (HEAD + ROW).replace("\n", "\r").encode(),
        (HEAD + "\n,,\n" + ROW).encode(),
    ],
)
def test_every_way_of_a_spreadsheet_to_write_a_csv_is_read(data: bytes) -> None:
    (host,) = roster.from_csv(sheet.text_of(data, "room.csv"), "room.csv")
    assert (host.seat, host.mac, host.address) == ("row1-01", "00:1e:37:aa:bb:01", "10.0.0.11")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"PK\x03\x04\x14\x00", "room.csv: expected CSV, found a spreadsheet (.xlsx or .ods)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "room.csv: expected CSV, found a spreadsheet (.xls)"),
        ("seat,mac,address\nsalle-é,,\n".encode("latin-1"), "room.csv: not text in UTF-8"),
        (b"", "room.csv:1: expected the columns seat,mac,address, found an empty line"),
        (
            b"sep=;\nseat;mac\n",
            "room.csv:2: expected the columns seat,mac,address, found 'seat;mac'",
        ),
        (b'sep="\nseat"mac\n', "room.csv:1: expected a separator such as ';', found '\"'"),
        (b"sep=\n\n" + HEAD.encode(), "room.csv:1: expected a separator"),
        (HEAD.encode(), "room.csv: no seats"),
        (b"seat\tmac\taddress\na\tb\t\n", "room.csv:2: column 'mac': expected a MAC address"),
    ],
)
def test_a_list_that_is_no_csv_is_told(data: bytes, problem: str) -> None:
    with pytest.raises(OperatorError) as failure:
        roster.from_csv(sheet.text_of(data, "room.csv"), "room.csv")
    assert str(failure.value).startswith(problem)


def test_a_change_of_a_profile_is_shown_as_a_difference() -> None:
    assert seats.change("a\nb\n", "a\nb\nc\n", "x") == "--- x\n+++ x (new)\n@@ -2 +2,2 @@\n b\n+c\n"
    assert seats.change("a\n", "a\n", "x") == ""


NEW = seats.NewSeat("00:1e:37:aa:bb:cc", "old-07", "10.0.0.17", "2000 MiB, bios")


@pytest.mark.parametrize(
    "text",
    [
        "# mine\nswap: {size: 1x}\n",
        "swap: {size: 1x}",
        "clients:\n  00:1e:37:00:00:01:\n    hostname: teacher\nswap: {size: 1x}\n",
        "clients: # ours\n",
    ],
)
def test_new_seats_join_a_profile_that_stays_as_it_was(text: str) -> None:
    added = seats.add(text, profile_file.parse(text, "room.yaml"), [NEW])
    kept = [line for line in added.splitlines() if line not in text.splitlines()]
    assert set(text.splitlines()) <= set(added.splitlines())
    assert [line for line in kept if line.strip() and line != "clients:"] == [
        "  00:1e:37:aa:bb:cc: # 2000 MiB, bios",
        "    hostname: old-07",
        "    address: 10.0.0.17",
    ]
    profile = profile_file.parse(added, "room.yaml")
    assert profile.seat_of(NEW.mac).hostname == "old-07" and profile.swap.size.times_ram in (1, 2)
    assert seats.add(added, profile, [NEW]) == added


@pytest.mark.parametrize(
    ("before", "after", "pad"),
    [
        (
            "swap:\n    size: 1x\nclients:\n",
            "    00:1e:37:00:00:01:\n        hostname: a\n",
            "    ",
        ),
        ("clients:\n", " 00:1e:37:00:00:01:\n  hostname: a\n", " "),
        ("clients: # ours\n", "\n# row 1\n    # row 1\n   00:1e:37:00:00:01: {}\n", "   "),
        ("clients:\r\n", "    00:1e:37:00:00:01:\r\n        hostname: a\r\n", "    "),
        ("clients:\r\n", "swap:\r\n    size: 1x\r\n", "  "),
        ("clients:", "", "  "),
        ("'clients' :\n", "    00:1e:37:00:00:01: {}\n", "    "),
        ('\ufeff"clients":\n', "    00:1e:37:00:00:01: {}\n", "    "),
    ],
)
def test_new_seats_are_written_as_the_others(before: str, after: str, pad: str) -> None:
    text = f"{before}{after}"
    profile = profile_file.parse(text, "room.yaml")
    added, refused = seats.add_each(
        text, profile, [NEW], lambda whole: profile_file.parse(whole, "room.yaml")
    )
    assert not refused and added.startswith(before) and added.endswith(after)
    end = "\r\n" if "\r\n" in text else "\n"
    block = added[len(before) : len(added) - len(after)].removeprefix(end)
    assert block.split(end)[:2] == [
        f"{pad}{NEW.mac}: # {NEW.remark}",
        f"{pad}{pad}hostname: {NEW.hostname}",
    ]
    assert len(profile_file.parse(added, "room.yaml").clients) == len(profile.clients) + 1
    assert added.count("\n") == added.count(end)


@pytest.mark.parametrize(
    "text", ['{"swap": {"size": "1x"}}\n', "  swap:\n    size: 1x\n", "swap: {size: 1x}\n...\n"]
)
def test_a_profile_that_takes_no_seats_is_told_and_the_seats_are_not_blamed(text: str) -> None:
    profile = profile_file.parse(text, "room.yaml")
    with pytest.raises(OperatorError, match="cannot be added to a profile in this form"):
        seats.add_each(text, profile, [NEW], lambda whole: profile_file.parse(whole, "room.yaml"))


def test_the_table_tells_who_failed() -> None:
    shown = table(
        [Outcome("pc1", "look", True, "fine", 0.52), Outcome("pc10", "look", False, "off", 8)]
    )
    assert shown.splitlines() == [
        "  seat  done  seconds  result",
        "  pc1   look      0.5  fine",
        "! pc10  look      8.0  off",
        "1 of 2 failed",
    ]


def test_what_the_doctor_could_not_look_at_is_not_called_ok() -> None:
    found = [
        doctor.Finding("eth0", "tftp", True, "fine", 0.1),
        doctor.Finding("eth0", "pages", False, "no", 0.1),
        doctor.Finding("eth0", "firewall", True, "cannot tell", 0.1, known=False),
    ]
    shown = [line.split()[2] for line in show.findings(found).splitlines()]
    assert shown == ["ok", "FAILED", "unknown"]
    assert [each.as_json()["known"] for each in found] == [True, True, False]


def test_many_pcs_at_once_keep_the_orders_they_had(tmp_path: Path) -> None:
    orders = classroom.Orders(tmp_path / "room.bootorders.json")
    macs = [f"52:54:00:00:00:{number:02x}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda mac: orders.put(mac, f"0001,{mac[-2:]}"), macs))
    orders.put(macs[0], "0002")  # a second time: our own entry, not the original
    assert [orders.get(mac) for mac in macs] == [f"0001,{mac[-2:]}" for mac in macs]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda mac: orders.put(mac, ""), macs))
    assert not any(orders.get(mac) for mac in macs)
