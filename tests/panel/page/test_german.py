"""What servers and PCs say, which is English, is shown in the reader's language."""

import re

import pytest
from playwright.sync_api import expect

from tests.panel import sentences
from tests.panel.page.conftest import Open

pytestmark = pytest.mark.system

MAC = "52:54:00:77:00:08"
GERMAN = {
    "troubles": (
        "hat keine Verbindung mehr zu seinem Swap (seit 20 s): er wurde ausgeschaltet oder erreicht den Server nicht",
        "Was tun: Wenn der PC an ist, hat sich seine Verbindung oder die Adresse des Servers geändert",
        "Keine Verbindung zum Swap",
    ),
    "boot": (
        "dieser Start ist langsamer: 43 s bei 12 PCs im Median, davor 31 s; die Schritte der langsamsten PCs vergleichen",
        "12 s, PCs davor: 3",
        "Datei über HTTP",
    ),
    "inventory": (
        "wartete in 7 Tagen 23% der Zeit auf Speicher: seine 3072 MiB sind zu wenig; RAM einbauen",
    ),
    "seat/52:54:00:77:00:06": ("Dieser PC startet. Das dauert etwa eine Minute.",),
    "seat/52:54:00:77:00:07": ("Dieser ist in etwa 12 s an der Reihe.",),
    f"seat/{MAC}": ("Linux startet", "Bildschirm ist fertig", "Moodle of our school"),
}

# Lines of DHCP and TFTP consist of several sentences. A PC's own error codes are the same in each language.
WIRE = {
    "REQUEST from a DHCP client": "REQUEST von einem DHCP-Client",
    "OFFER 10.0.0.9, boot file snponly.efi": "OFFER 10.0.0.9, Startdatei snponly.efi",
    "DISCOVER: no free address in 10.0.0.0/24: all are in use; the PC shows: PXE-E51: No offers": (
        "DISCOVER: keine freie Adresse in 10.0.0.0/24: alle sind vergeben; der PC zeigt: PXE-E51: No offers"
    ),
    "DISCOVER: the relay 10.0.0.3 is in no network of this server; if PCs boot there, add its network to "
    "dhcp.networks": (
        "DISCOVER: das Relay 10.0.0.3 ist in keinem Netz dieses Servers; wenn dort PCs starten, sein Netz in "
        "dhcp.networks aufnehmen"
    ),
    "a.efi 12.0 kB in 0.10 s: broken (no answer: a firewall, or a smaller MTU on the way?)": (
        "a.efi 12.0 kB in 0.10 s: abgebrochen (keine Antwort: eine Firewall, oder eine kleinere MTU auf dem Weg?)"
    ),
}


@pytest.mark.parametrize("screen", GERMAN)
def test_what_a_server_says_is_shown_in_german(visit: Open, screen: str) -> None:
    page = visit(locale="de-DE").go(screen)
    for text in GERMAN[screen]:
        expect(page.locator("main")).to_contain_text(text)
    page.get_by_role("button", name="English").click()
    for text in GERMAN[screen][:1]:
        expect(page.locator("main")).not_to_contain_text(text)


def test_each_sentence_that_can_be_sent_is_put_into_german_by_the_page(visit: Open) -> None:
    page = visit(locale="de-DE").page
    sent = [re.sub(r"\{\w*\}", "7", text) for _, text in sentences.sent()] + sentences.made()
    script = """async (sent) => {
        const { loadSentences, said } = await import("/static/sentences.js");
        await loadSentences("de");
        return sent.map(said);
    }"""
    told = dict(zip(sent, page.evaluate(script, sent), strict=True))
    assert [text for text, german in told.items() if text == german] == []
    assert told[sentences.made()[-1]].startswith("hat keine Verbindung mehr zu seinem Swap")
    assert page.evaluate(script, list(WIRE)) == list(WIRE.values())
    assert page.evaluate(script, ["", "unknown", None]) == ["", "unknown", ""]


def test_no_text_of_a_pc_keeps_the_page_busy(visit: Open) -> None:
    page = visit(locale="de-DE").page
    script = """async (sent) => {
        const { loadSentences, said } = await import("/static/sentences.js");
        await loadSentences("de");
        const times = [];
        for (let round = 0; round < 5; round++) {
            const begin = performance.now();
            sent.forEach(said);
            times.push(performance.now() - begin);
        }
        return Math.min(...times); // a busy machine may take the CPU away in any of them
    }"""
    hostile = [
        part * (590 // len(part)) for part in (": ", "; ", " s: 7 for ", " MB in 7 s, ", "a")
    ]
    assert page.evaluate(script, hostile) < 500
