"""The sentences of a boot loader in the language of the seat."""

import re

import pytest

from netboot.boot import grub, ipxe, splash
from netboot.boot.admission import Turn
from netboot.boot.memory import Shortage
from netboot.profile.profile import Profile
from tests.boot.test_ipxe import MAC, plan_of

URL = "http://10.0.0.1:8080"
LANGUAGES = {"de", "fr", "es", "pt", "it"}  # those of the screen's own texts, beside English
SAFE = re.compile(r"[A-Za-z0-9 .,%-]+")  # for iPXE's console, and for the shells of both


def german() -> Profile:
    return Profile.model_validate({"seat": {"locale": "de_DE.UTF-8"}})


@pytest.mark.parametrize("key", splash.SENTENCES)
def test_each_sentence_is_there_in_each_language_and_can_be_shown(key: str) -> None:
    assert set(splash.SENTENCES[key]) == LANGUAGES
    for sentence in splash.SENTENCES[key].values():
        assert SAFE.fullmatch(sentence)
        assert len(f"netboot: {sentence}") <= 100, "one or two lines of 80 letters"
    assert len({sentence.count("%s") for sentence in splash.SENTENCES[key].values()}) == 1


def test_a_german_seat_says_what_it_does_in_german() -> None:
    plan = plan_of(german())
    assert "echo netboot: Dieser PC startet." in ipxe.render(plan, URL)
    assert "zu wenig Arbeitsspeicher" in ipxe.render(plan, URL, Shortage(64, 96))
    assert "in etwa 12 s an der Reihe" in ipxe.render_wait(plan, URL, Turn(wait=12, before=7))
    text = ipxe.render_obstacle(plan, URL, "no image")
    assert "Neuer Versuch in 30 s" in text
    assert ipxe.read_obstacle(text) == "no image"
    assert ipxe.read(text, MAC) == ipxe.Chain(f"{URL}/{plan.script_path}", 30)


def test_grub_says_it_too() -> None:
    plan = plan_of(german())
    assert "echo netboot: Dieser PC startet." in grub.render(plan, "10.0.0.1")
    assert "Neuer Versuch in 30 s" in grub.render_obstacle(plan, "10.0.0.1", "no image")


@pytest.mark.parametrize("locale", ["C.UTF-8", "en_US.UTF-8", "nl_NL.UTF-8"])
def test_other_seats_have_the_english_line_alone(locale: str) -> None:
    profile = Profile.model_validate({"seat": {"locale": locale}})
    assert ipxe.render(plan_of(profile), URL) == ipxe.render(plan_of(Profile()), URL)
