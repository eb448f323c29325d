"""Runs of one device, a copy of its card, and statuses that are sent again."""

from datetime import UTC, datetime, timedelta

from sim2edge.enrol.sightings import RUNS_KEPT, Word, look, read_seen, write_seen
from sim2edge.enrol.signed_status import Signed

KEY, OTHER_KEY = "0" * 64, "1" * 64
NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B = "a" * 16, "b" * 16


def said(run: str, start: int, counter: int) -> Signed:
    return Signed(device="pi-1", run=run, start=start, counter=counter, status={})


def watch(*sent: Signed, now: datetime = NOW) -> list[str]:
    """What each status is found to be, one after the other."""
    words, before = [], None
    for each in sent:
        word, before = look(before, KEY, each, now, now)
        words.append(str(word))
    return words


def test_one_device_that_counts_on_and_restarts_is_itself():
    sent = [said(A, 1, 1), said(A, 1, 1), said(A, 1, 9), said(B, 2, 1), said("c" * 16, 3, 1)]
    assert set(watch(*sent)) == {"verified"}


def test_one_device_whose_card_is_read_only_restarts_under_the_same_number():
    assert watch(said(A, 4, 5), said(B, 4, 1), said("c" * 16, 4, 1)) == ["verified"] * 3


def test_an_older_status_of_the_same_run_was_sent_again():
    assert watch(said(A, 1, 9), said(A, 1, 3), said(A, 1, 10)) == ["verified", "replayed", "verified"]


def test_a_status_of_an_earlier_run_was_sent_again():
    assert watch(said(A, 1, 9), said(B, 2, 1), said(A, 1, 9)) == ["verified", "verified", "replayed"]
    assert watch(said(B, 2, 1), said(A, 1, 9)) == ["verified", "replayed"]


def test_two_devices_that_take_turns_are_duplicates():
    sent = [said(A, 1, 1), said(B, 2, 1), said(A, 1, 2), said(B, 2, 2)]
    assert watch(*sent) == ["verified", "verified", "duplicate", "duplicate"]


def test_a_copied_card_that_has_started_less_often_is_told_once_it_goes_on():
    sent = [said(A, 9, 1), said(B, 6, 1), said(B, 6, 2), said(A, 9, 5)]
    assert watch(*sent) == ["verified", "replayed", "duplicate", "duplicate"]


def test_a_duplicate_that_is_gone_is_forgotten_after_a_day():
    _, before = look(None, KEY, said(A, 1, 1), NOW, NOW)
    for each in (said(B, 2, 1), said(A, 1, 2)):
        word, before = look(before, KEY, each, NOW, NOW)
    assert word == Word.DUPLICATE
    assert look(before, KEY, said(A, 1, 3), NOW + timedelta(hours=23), NOW)[0] == Word.DUPLICATE
    assert look(before, KEY, said(A, 1, 3), NOW + timedelta(hours=25), NOW)[0] == Word.VERIFIED


def test_a_device_that_was_enrolled_anew_starts_anew():
    _, before = look(None, KEY, said(A, 9, 9), NOW, NOW)
    assert look(before, OTHER_KEY, said(B, 1, 1), NOW, NOW)[0] == Word.VERIFIED


def test_the_newest_status_sent_again_is_no_sign_of_life():
    hour, before = timedelta(hours=1), None
    for number, (run, start, counter) in enumerate([(A, 1, 1), (A, 1, 1), (A, 1, 1), (A, 1, 2), (B, 2, 2), (B, 2, 2)]):
        word, before = look(before, KEY, said(run, start, counter), NOW, NOW + number * hour)
        expected = {0: 0, 1: 0, 2: 0, 3: 3, 4: 4, 5: 4}[number]
        assert (word, before.moved) == (Word.VERIFIED, NOW + expected * hour)


def test_a_record_of_a_version_that_did_not_keep_it_counts_from_now():
    _, before = look(None, KEY, said(A, 1, 1), NOW, NOW)
    earlier = before.model_copy(update={"moved": None})
    assert look(earlier, KEY, said(A, 1, 1), NOW, NOW + timedelta(hours=1))[1].moved == NOW + timedelta(hours=1)


def test_what_is_remembered_stays_small_and_survives_the_bus(bus):
    before = None
    for number in range(50):
        _, before = look(before, KEY, said(f"{number:016x}", number, 1), NOW, NOW)
    assert len(before.others) == RUNS_KEPT
    assert read_seen(bus) == ({}, None)
    write_seen(bus, {"pi-1": before}, None)
    found, tag = read_seen(bus)
    assert found == {"pi-1": before}
    write_seen(bus, {}, tag)
    assert read_seen(bus)[0] == {}
