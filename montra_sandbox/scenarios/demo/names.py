"""Invented people and companies. All addresses are below example.com and example.org, which belong to nobody."""

from __future__ import annotations

import random
from typing import Any

import attrs


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words(
    "Ada Alan Amara Anders Anika Aylin Beatriz Bruno Camille Carlos Chiara Daniel Diego Elena Elif Emil Esther Farah"
    " Felix Fiona Gabriel Greta Hana Hugo Ines Ivan Jonas Julia Kaito Katarina Lars Leila Lucia Magnus Maja Marco Mei"
    " Milan Nadia Noah Nora Oliver Omar Paula Priya Rafael Rosa Samir Sanna Sofia Stefan Tara Theo Tomas Ulrich Vera"
    " Viktor Wanda Yara Yusuf Zoe"
)
_LAST = _words(
    "Abara Albrecht Almeida Andersson Aydin Bakker Bauer Becker Bianchi Castro Chen Conti Costa Demir Dubois Eriksen"
    " Fischer Fontaine Garcia Haddad Hansen Hoffmann Horvat Ito Jansen Kaplan Kaur Keller Kim Kowalski Larsen Laurent"
    " Lindberg Lopez Marino Martin Mbeki Meyer Moreau Nakamura Nguyen Novak Okafor Olsen Patel Pereira Petrov Rossi"
    " Ruiz Santos Schmidt Silva Singh Sorensen Tanaka Torres Usman Vogel Wagner Weber Yilmaz Zhang"
)
_HEADS = _words(
    "Amber Birch Blue Bright Cedar Clear Copper Coral Delta Ember Fjord Granite Harbor Indigo Juniper Kite Lumen Maple"
    " Meridian Nimbus North Oak Onyx Pine Prism Quartz Quill River Saffron Silver Summit Tidal Umbra Velvet Willow"
    " Zephyr"
)
_TAILS = _words(
    "analytics base cast craft desk field flow forge grid labs leaf loop mind path point scope shift stack wise works"
)
_PLACES = (
    *(("Berlin", "DE"), ("Lisbon", "PT"), ("Lyon", "FR"), ("Toronto", "CA"), ("Austin", "US"), ("Osaka", "JP")),
    *(("Nairobi", "KE"), ("Utrecht", "NL"), ("Oslo", "NO"), ("Milan", "IT"), ("Bristol", "GB"), ("Denver", "US")),
)
_SOLO = 0.35


@attrs.frozen(kw_only=True)
class Person:
    """Who signs up.

    Attributes:
        name: first and last name.
        email: the address.
        company: the company; None for somebody who works alone.
        address: city and country.
    """

    name: str
    email: str
    company: str | None
    address: dict[str, str]

    def fields(self) -> dict[str, Any]:
        """The body of `create_customer`."""
        metadata = {"company": self.company} if self.company else {"company": "none"}
        return {"name": self.name, "email": self.email, "address": self.address, "metadata": metadata}


class People:
    """Makes people, each with an address of their own.

    Args:
        rng: the random generator.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def make(self, *, is_solo: bool | None = None) -> Person:
        """Make a person.

        Args:
            is_solo: whether the person works alone; None leaves it to chance.
        """
        rng = self._rng
        first, last = rng.choice(_FIRST), rng.choice(_LAST)
        solo = rng.random() < _SOLO if is_solo is None else is_solo
        company = None if solo else f"{rng.choice(_HEADS)}{rng.choice(_TAILS)}"
        city, country = rng.choice(_PLACES)
        domain = "example.org" if company is None else f"{company.lower()}.example.com"
        email = self._untaken(f"{first}.{last}".lower(), domain)
        return Person(name=f"{first} {last}", email=email, company=company, address={"city": city, "country": country})

    def _untaken(self, local: str, domain: str) -> str:
        email, number = f"{local}@{domain}", 1
        while email in self._taken:
            number += 1
            email = f"{local}{number}@{domain}"
        self._taken.add(email)
        return email
