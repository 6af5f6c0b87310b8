"""One filter and the way it is used: what the operator said, and what the filter itself says where nobody did."""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.proxy.filter_slots import FilterSlots

#: Filters that may hold the verdict longer make the message be spooled (DESIGN: streaming).
STREAM_S: Final = 5.0
#: Messages at a time of such a filter, where nothing else was configured. Engines have some ten threads, and a line.
HEAVY_SLOTS: Final = 50


@attrs.frozen
class Use:
    """One filter and the way it is used.

    :ivar mode: enforce or shadow
    :ivar slots: how many messages it has at a time; None: as many as come
    :ivar is_judge: it comes after the others of its stage, and its methods are told first what was found
    :ivar edits_body: it changes the body, for which that must be lines
    :ivar growth_octets: how much larger it usually makes a message
    :ivar on_error: tempfail, reject or continue
    :ivar may_hold: it may want a message to be held: one that is streamed is kept until that is known
    :ivar holds_late: it may say so as late as at the end
    """

    name: str
    filter: Any
    stages: frozenset[str]
    roles: frozenset[str]
    mode: str = "enforce"
    on_error: str = "tempfail"
    needs_message: bool = False
    budget_s: float = 1.0
    needs_content: bool = False
    category: str = "policy"
    slots: FilterSlots | None = None
    is_judge: bool = False
    may_hold: bool = True
    holds_late: bool = True
    edits_body: bool = False
    growth_octets: int = 0

    @classmethod
    def of(
        cls,
        factory: Any,
        name: str,
        made: Any,
        roles: frozenset[str] | None,
        mode: str,
        on_error: str | None,
        slots: FilterSlots | None = None,
        may_hold: bool = True,
    ) -> Use:
        """A filter as its factory describes it, where the operator did not say otherwise."""
        return cls(
            name,
            made,
            frozenset(factory.stages),
            roles or frozenset(factory.roles),
            mode,
            on_error or factory.on_error,
            factory.needs_message,
            factory.budget_s,
            factory.needs_content,
            factory.category,
            slots,
            may_hold=may_hold,
        )
