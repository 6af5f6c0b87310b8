"""All checks on the finished tree, run together: whatever is wrong is said at once.

The schema has judged each key alone; the checks judge keys against each other, against the files that they
name, and against what mail needs. Each is a small pure function with a test of its own, in the module of its
subject. A check speaks about the tree that it is given; what rests on a part of the file that is at fault
itself is taken out afterwards by `untainted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from smtpgate.config import (
    check_backends,
    check_files,
    check_folders,
    check_hooks,
    check_limits,
    check_listeners,
    check_policy,
    check_routes,
    check_service,
    check_signing,
    check_sso,
    check_tls,
)
from smtpgate.config.model import Settings
from smtpgate.config.problem import EACH, Fault, Where
from smtpgate.config.surroundings import Surroundings

#: Checks that need the tree alone.
TREE_CHECKS: tuple[Callable[[Settings], Iterator[Fault]], ...] = (
    check_service.hostname_is_a_name,
    check_service.something_listens,
    check_service.names_are_plain,
    check_service.verdict_is_in_time,
    check_service.backend_gets_its_time,
    check_service.times_have_sense,
    check_service.messages_of_64_kib_pass,
    check_service.hundred_recipients_pass,
    check_service.scores_rise,
    check_service.admin_is_not_open,
    check_service.nothing_is_listened_on_twice,
    check_service.filters_have_own_names,
    check_listeners.mx_has_local_domains,
    check_listeners.local_domains_are_not_the_world,
    check_listeners.submission_knows_its_clients,
    check_listeners.required_auth_is_on,
    check_listeners.relay_from_is_narrow,
    check_listeners.relay_from_leaves_balancers_out,
    check_listeners.trusted_peers_are_narrow,
    check_listeners.password_file_is_used,
    check_listeners.auth_can_be_offered,
    check_listeners.tls_keys_have_tls,
    check_listeners.mx_takes_mail_without_tls,
    check_listeners.tls_has_certificates,
    check_listeners.lmtp_is_for_delivery,
    check_listeners.only_submission_hides_clients,
    check_backends.verified_servers_have_names,
    check_backends.tls_keys_have_tls,
    check_backends.trust_is_asked_for,
    check_backends.own_credentials_are_safe,
    check_backends.servers_differ,
    check_backends.servers_are_not_us,
    check_backends.backends_are_used,
    check_backends.backends_judge_the_client,
    check_backends.shared_links_name_no_client,
    check_backends.logins_go_over_safe_legs,
    check_backends.logins_are_hidden_on_one_leg,
    check_limits.shares_fit,
    check_limits.limits_have_names_of_their_own,
    check_limits.limits_count_by_what_is_known,
    check_limits.limits_ask_for_what_is_known,
    check_limits.limits_name_listeners,
    check_policy.rules_have_names_of_their_own,
    check_policy.rules_name_listeners,
    check_policy.rules_name_groups,
    check_policy.rules_name_backends,
    check_policy.rules_send_where_mail_goes,
    check_policy.rules_route_where_logins_may_go,
    check_policy.rules_hold_in_classes_that_there_are,
    check_policy.full_quarantine_takes_something,
    check_policy.digests_have_links,
    check_hooks.hooks_hear_of_something,
    check_hooks.hooks_in_clear,
    check_sso.providers_are_safe,
    check_sso.providers_are_asked_for_something,
    check_sso.providers_let_somebody_in,
    check_policy.refusals_have_links,
    check_policy.tls_reports_are_of_something,
    check_tls.policies_name_listeners,
    check_tls.clients_can_have_it,
    check_tls.backends_can_have_it,
    check_tls.dane_has_a_resolver,
    check_tls.backends_have_servers,
    check_tls.mx_keys_have_sense,
    check_tls.mx_is_for_our_own,
    check_signing.dkim_keys_have_names_of_their_own,
    check_signing.dkim_keys_name_listeners,
    check_signing.dkim_keys_have_mail,
    check_signing.smime_rules_have_certificates,
    check_policy.searches_have_names_of_their_own,
    check_routes.backends_exist,
    check_routes.listeners_exist,
    check_routes.routes_can_be_reached,
    check_routes.conditions_can_be_met,
    check_routes.listeners_are_served,
    check_routes.local_domains_are_served,
    check_routes.recipients_are_local,
    check_routes.login_has_one_backend,
    check_routes.user_has_one_backend,
    check_routes.logins_go_to_smtp,
    check_routes.relayed_login_is_the_only_one,
    check_routes.somebody_takes_the_rest,
)

#: Checks that need what stands outside the file too.
AROUND_CHECKS: tuple[Callable[[Settings, Surroundings], Iterator[Fault]], ...] = (
    check_service.state_dir_is_usable,
    check_service.log_file_is_usable,
    check_folders.state_dir_is_our_own,
    check_folders.state_dir_lasts,
    check_folders.state_dir_is_beside_the_configuration,
    check_folders.paths_have_one_use,
    check_folders.sockets_are_not_our_own_door,
    check_files.certificates_are_good,
    check_files.authorities_are_readable,
    check_files.password_files_are_good,
    check_signing.smime_certificates_are_there,
    check_signing.smime_keys_sign,
)


def run(tree: Settings, around: Surroundings) -> list[Fault]:
    """The faults that all checks find."""
    faults = [fault for check in TREE_CHECKS for fault in check(tree)]
    faults += [fault for around_check in AROUND_CHECKS for fault in around_check(tree, around)]
    return faults


def untainted(faults: Iterable[Fault], tainted: Iterable[Where]) -> list[Fault]:
    """Without the faults that rest on a part of the file that is known to be wrong already."""
    spoiled = list(tainted)
    return [fault for fault in faults if not any(map(_spoils(fault), spoiled))]


def _spoils(fault: Fault) -> Callable[[Where], bool]:
    table = fault.where[:2]
    own = [table] if fault.keys is None else [(*table, key) for key in fault.keys]
    rests = [*own, *fault.rests_on]

    def spoils(path: Where) -> bool:
        return fault.where[: len(path)] == path or any(_meets(rest, path) for rest in rests)

    return spoils


def _meets(rest: Where, path: Where) -> bool:
    """True when one of the two places is the other, or lies in it."""
    return all(one in (EACH, other) for one, other in zip(rest, path, strict=False))
