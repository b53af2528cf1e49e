"""Loaders: the second try, and whose iPXE asks."""

from netboot.loaders import START_SECONDS, Loaders

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"


def test_a_loader_that_is_heard_of_stays() -> None:
    loaders = Loaders()
    for _ in range(3):
        assert not loaders.restarted(MAC)
        loaders.loaded(MAC, 1.0)
        loaders.heard(MAC)
        loaders.scripted(MAC)
    assert not loaders.is_second(MAC)


def test_two_loaders_take_turns_until_one_is_heard_of() -> None:
    loaders = Loaders()
    loaders.loaded(MAC, 1.0)
    assert loaders.restarted(MAC) and loaders.is_second(MAC)
    assert not loaders.restarted(MAC), "it asked again for the same boot"
    assert loaders.is_second(MAC)
    loaders.loaded(MAC, 20.0)
    assert loaders.restarted(MAC) and not loaders.is_second(MAC)
    loaders.loaded(MAC, 40.0)
    assert loaders.restarted(MAC)
    loaders.loaded(MAC, 60.0)
    loaders.heard(MAC)
    assert not loaders.restarted(MAC) and loaders.is_second(MAC)
    assert not loaders.is_second(OTHER)


def test_a_pc_that_fetched_nothing_has_not_failed() -> None:
    loaders = Loaders()
    assert not loaders.restarted(MAC) and not loaders.restarted(MAC)
    assert not loaders.is_second(MAC)


def test_ours_is_who_asks_after_a_loader_was_sent_and_until_it_has_its_script() -> None:
    loaders = Loaders()
    assert not loaders.is_ours(MAC, 0.0), "the card's, before anything was sent"
    loaders.heard(MAC)
    assert not loaders.is_ours(MAC, 0.0)
    loaders.loaded(MAC, 10.0)
    assert loaders.is_ours(MAC, 12.0) and not loaders.is_ours(OTHER, 12.0)
    loaders.heard(MAC)
    assert loaders.is_ours(MAC, 10.0 + 10 * START_SECONDS), "its REQUEST, however late"
    loaders.scripted(MAC)
    assert not loaders.is_ours(MAC, 14.0), "the card's, at the next boot"


def test_a_cards_ipxe_that_comes_late_has_been_switched_off_and_on() -> None:
    loaders = Loaders()
    loaders.loaded(MAC, 10.0)
    assert not loaders.is_ours(MAC, 10.0 + START_SECONDS + 0.1)
    assert loaders.restarted(MAC) and loaders.is_second(MAC)
