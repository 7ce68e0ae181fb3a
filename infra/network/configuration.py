"""The levers: what is set now, what may be set, and how a lock takes effect."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from infra.network.arrays import Flags, Floats, Index
from infra.network.layout import Sites
from infra.network.parameters import Parameters
from infra.network.slices import RATIOS, initial_ratios, problem_with_ratios
from schemas.exceptions import InvalidName
from schemas.levers import ADMINISTRATIVE_STATES, LOCKED, SHUTTING_DOWN, UNLOCKED, problem_with
from schemas.names import beam_dn, canonical, managed_element_of, sector_carrier_dn, slice_policy_dn

POWER, TILT, CIO, ADMIN = "configuredMaxTxPower", "digitalTilt", "cellIndividualOffset", "administrativeState"
_OF_CELLS = (POWER, TILT, CIO, ADMIN)
_POLICY = "RRMPolicyRatio"
_LOCK_GRACE_S = 2.0  # a locked cell first hands its users over
_SHUT_DOWN_S = 30.0  # a cell that shuts down waits so long for its users to leave


class Setting(NamedTuple):
    """One attribute of one object and its value."""

    object: str
    attribute: str
    value: float | str


class Configuration:
    """Levers of C cells.

    Attributes
    ----------
    power_mw, tilt_tenths
        [C]
    cio_db
        [C, C] source by target; zero where no relation exists.
    state
        [C] index into ADMINISTRATIVE_STATES.
    ratios
        [3, K, C] percent: RATIOS of each slice.
    """

    STATE = ("power_mw", "tilt_tenths", "cio_db", "state", "ratios", "_state_s")

    def __init__(self, sites: Sites, parameters: Parameters) -> None:
        d, cells = parameters.defaults, sites.cells
        self._sites = sites
        self._rated_mw = parameters.layout.max_tx_power_mw
        self.power_mw: Floats = np.full(cells, d.tx_power_mw)
        self.tilt_tenths: Floats = np.full(cells, d.digital_tilt_tenths)
        self.cio_db: Floats = np.where(sites.related, d.cio_db, 0.0)
        self.state: Index = np.full(cells, ADMINISTRATIVE_STATES.index(UNLOCKED))
        self._state_s: Floats = np.full(cells, 1e9)  # for how long it has been in this state
        self.ratios: Floats = initial_ratios(parameters, cells)
        self.levers = _OF_CELLS + (RATIOS if sites.topology.slices else ())
        names = sites.topology.cell_names
        # Every lever object: its attribute (or policy), and where: cell, source and target, or slice and cell.
        self._objects: dict[str, tuple[str, int, int]] = {}
        for c, name in enumerate(names):
            self._objects[sector_carrier_dn(name)] = (POWER, c, c)
            self._objects[beam_dn(name)] = (TILT, c, c)
            self._objects[name] = (ADMIN, c, c)
            for k, network_slice in enumerate(sites.topology.slices):
                self._objects[slice_policy_dn(name, network_slice.s_nssai)] = (_POLICY, k, c)
        self._objects |= {dn: (CIO, s, t) for dn, (s, t) in sites.relations.items()}
        self._by_element: dict[str, list[str]] = {e: [] for e in sites.topology.managed_elements}
        for dn in self._objects:
            self._by_element[managed_element_of(dn)].append(dn)

    def settings(self, managed_element: str) -> list[Setting]:
        """All levers of one managed element."""
        return self._settings(self._by_element[managed_element])

    def all_settings(self) -> list[Setting]:
        """All levers."""
        return self._settings(self._objects)

    def look_up(self, objects: Iterable[str]) -> list[Setting]:
        """Levers of these objects; unknown ones are left out."""
        known = (canonical(dn) for dn in objects)
        return self._settings(dn for dn in known if dn in self._objects)

    def _settings(self, objects: Iterable[str]) -> list[Setting]:
        found: list[Setting] = []
        for dn in objects:
            kind, k, c = self._objects[dn]
            if kind == _POLICY:
                found += [Setting(dn, name, float(self.ratios[r, k, c])) for r, name in enumerate(RATIOS)]
            else:
                found.append(self._setting(dn))
        return found

    def _setting(self, dn: str) -> Setting:
        attribute, a, b = self._objects[dn]
        if attribute == POWER:
            return Setting(dn, attribute, float(self.power_mw[a]))
        if attribute == TILT:
            return Setting(dn, attribute, float(self.tilt_tenths[a]))
        if attribute == CIO:
            return Setting(dn, attribute, float(self.cio_db[a, b]))
        return Setting(dn, attribute, ADMINISTRATIVE_STATES[self.state[a]])

    def problem(self, managed_element: str, changes: Sequence[Setting]) -> str | None:
        """Why these changes cannot be made, or None if they can."""
        if managed_element not in self._by_element:
            return f"unknown managed element {managed_element!r}"
        for dn, attribute, value in changes:
            try:
                name = canonical(dn)
                problem = problem_with(name, attribute, value)
            except InvalidName as error:
                return str(error)
            if problem:
                return problem
            if name not in self._objects:
                return f"unknown object {dn!r}"
            if managed_element_of(name) != managed_element:
                return f"{dn!r} is no object of {managed_element}"
            if self._objects[name][0] != (_POLICY if attribute in RATIOS else attribute):
                return f"{attribute} is no lever of this network"
            if attribute == POWER and isinstance(value, float | int) and value > self._rated_mw:
                return f"configuredMaxTxPower {value:g} mW is above the rated {self._rated_mw:g} mW of {dn}"
        return self._problem_with_ratios(changes)

    def _problem_with_ratios(self, changes: Sequence[Setting]) -> str | None:
        """Ratios depend on each other, so what counts is what they are after all changes."""
        after, touched = self.ratios.copy(), set()
        for dn, attribute, value in changes:
            if attribute in RATIOS:
                _, k, c = self._objects[canonical(dn)]
                after[RATIOS.index(attribute), k, c] = float(value)
                touched.add(c)
        names = self._sites.topology.cell_names
        problems = (problem_with_ratios(names[c], after[:, :, c]) for c in sorted(touched))
        return next((p for p in problems if p), None)

    def apply(self, changes: Sequence[Setting]) -> None:
        """Make changes that have no problem."""
        for dn, attribute, value in changes:
            kind, a, b = self._objects[canonical(dn)]
            if kind == _POLICY:
                self.ratios[RATIOS.index(attribute), a, b] = float(value)
            elif kind == ADMIN:
                state = ADMINISTRATIVE_STATES.index(str(value))
                if state != self.state[a]:
                    self.state[a], self._state_s[a] = state, 0.0
            elif kind == POWER:
                self.power_mw[a] = float(value)
            elif kind == TILT:
                self.tilt_tenths[a] = float(value)
            else:
                self.cio_db[a, b] = float(value)

    def advance(self, step_s: float, connected: Floats) -> list[Setting]:
        """Let time pass; returns what changed by itself (a cell that has shut down is locked)."""
        self._state_s += step_s
        shutting = self.state == ADMINISTRATIVE_STATES.index(SHUTTING_DOWN)
        if not shutting.any():
            return []
        done = np.flatnonzero(shutting & ((connected == 0) | (self._state_s >= _SHUT_DOWN_S)))
        self.state[done], self._state_s[done] = ADMINISTRATIVE_STATES.index(LOCKED), 1e9
        return [Setting(self._sites.topology.cell_names[c], ADMIN, LOCKED) for c in done]

    @property
    def locked(self) -> Flags:
        """[C] off the air by order."""
        out: Flags = (self.state == ADMINISTRATIVE_STATES.index(LOCKED)) & (self._state_s >= _LOCK_GRACE_S)
        return out

    @property
    def leaving(self) -> Flags:
        """[C] about to go off the air: takes nobody new and hands its users over."""
        out: Flags = self.state != ADMINISTRATIVE_STATES.index(UNLOCKED)
        return out
