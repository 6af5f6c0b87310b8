"""Every route as everybody who could ask: strangers, each role, and paths written otherwise."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.permission import PERMISSIONS, ROLES
from smtpgate.admin.routes import Route
from smtpgate.admin.site import ROUTES, _Front
from tests.admin_kit import PASSWORD, Desk, make_session

#: Permission to the roles that hold it. Written out by hand, so that a slip in `permission` shows.
WANTED = {
    "stats:read": {"owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor"},
    "traffic:read": {"owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor"},
    "messages:read": {"owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor"},
    "self": {"owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor", "user"},
    "config:read": {"owner", "admin", "operator", "auditor"},
    "config:write": {"owner", "admin"},
    "rules:write": {"owner", "admin"},
    "lists:write": {"owner", "admin", "operator", "quarantine-manager"},
    "runtime:write": {"owner", "admin", "operator"},
    "test:run": {"owner", "admin", "operator"},
    "access:write": {"owner"},
    "audit:read": {"owner", "admin", "auditor"},
    "system:write": {"owner", "admin"},
    "metrics:read": {"owner", "admin", "operator", "auditor"},
    "content:malware": {"owner", "admin"},
    "content:read": {"owner", "admin", "quarantine-manager"},
    "quarantine:read": {"owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor"},
    "quarantine:release": {"owner", "admin", "operator", "quarantine-manager"},
    "quarantine:delete": {"owner", "admin", "operator", "quarantine-manager"},
}
#: Method and path to permission, for all that is served. A new route must be added here on purpose.
MATRIX = {
    "GET /livez": "near",
    "GET /readyz": "near",
    "GET /startupz": "near",
    "GET /metrics": "near",
    "GET /api/v1/overview": "stats:read",
    "GET /api/v1/series": "stats:read",
    "GET /api/v1/stats/top": "traffic:read",
    "GET /api/v1/stats/series": "stats:read",
    "GET /api/v1/stats/distributions": "stats:read",
    "GET /api/v1/stats/reports": "stats:read",
    "GET /api/v1/sessions": "traffic:read",
    "GET /api/v1/live": "traffic:read",
    "GET /api/v1/backends/<pool>/destinations": "stats:read",
    "GET /api/v1/backends/<pool>/servers/<path:name>": "stats:read",
    "PATCH /api/v1/backends/<pool>/servers/<path:name>": "runtime:write",
    "POST /api/v1/backends/<pool>/servers/<path:name>/maint": "runtime:write",
    "POST /api/v1/probe": "config:write",
    "GET /api/v1/overrides": "stats:read",
    "GET /api/v1/overrides/<kind>/<pool>/<path:name>": "stats:read",
    "DELETE /api/v1/overrides/<kind>/<pool>/<path:name>": "runtime:write",
    "GET /api/v1/routes": "config:read",
    "GET /api/v1/intake": "stats:read",
    "POST /api/v1/intake/pause": "system:write",
    "POST /api/v1/intake/resume": "system:write",
    "POST /api/v1/live/kill": "runtime:write",
    "GET /api/v1/tls/certificates": "config:read",
    "POST /api/v1/tls/certificates/reload": "config:write",
    "POST /api/v1/tls/certificates/test": "config:read",
    "GET /api/v1/tls/certificates/of/<listener>": "config:read",
    "PUT /api/v1/tls/certificates/of/<listener>": "config:write",
    "POST /tls/test": "config:read",
    "POST /api/v1/tls/promises": "test:run",
    "POST /tls/promises": "test:run",
    "POST /tls/upload": "config:write",
    "GET /api/v1/filter-figures": "config:read",
    "GET /api/v1/filter-overrides": "config:read",
    "GET /api/v1/filters/<name>": "config:read",
    "PATCH /api/v1/filters/<name>": "runtime:write",
    "GET /api/v1/filters/<name>/override": "config:read",
    "DELETE /api/v1/filters/<name>/override": "runtime:write",
    "GET /api/v1/plugins": "config:read",
    "GET /api/v1/plugins/<name>/schema": "config:read",
    "GET /plugins": "config:read",
    "GET /plugins/<name>": "config:read",
    "GET /filters/<name>": "config:read",
    "POST /filters/<name>/tune": "runtime:write",
    "POST /filters/<name>/end": "runtime:write",
    "GET /api/v1/tasks": "messages:read",
    "GET /api/v1/tasks/<id>": "messages:read",
    "GET /api/v1/tasks/<id>/result": "messages:read",
    "DELETE /api/v1/tasks/<id>": "messages:read",
    "GET /api/v1/logs": "config:read",
    "GET /api/v1/log-levels": "config:read",
    "GET /api/v1/log-levels/<namespace>": "config:read",
    "PUT /api/v1/log-levels/<namespace>": "system:write",
    "DELETE /api/v1/log-levels/<namespace>": "system:write",
    "GET /api/v1/alerts": "stats:read",
    "POST /api/v1/test/send": "test:run",
    "GET /api/docs": "self",
    "GET /api/v1/system": "config:read",
    "POST /api/v1/system/drain": "system:write",
    "POST /api/v1/system/undrain": "system:write",
    "POST /api/v1/system/reopen-logs": "system:write",
    "POST /api/v1/system/backup": "system:write",
    "POST /system/backup": "system:write",
    "GET /api/v1/system/bundle": "system:write",
    "GET /system": "config:read",
    "POST /system/drain": "system:write",
    "POST /system/undrain": "system:write",
    "POST /system/reopen-logs": "system:write",
    "GET /system/bundle": "system:write",
    "GET /api/v1/test/samples": "test:run",
    "POST /api/v1/test/message": "test:run",
    "POST /api/v1/test/session": "test:run",
    "POST /api/v1/test/replay": "test:run",
    "GET /api/v1/first-steps": "stats:read",
    "POST /api/v1/first-steps/dismiss": "stats:read",
    "POST /api/v1/first-steps/server": "config:write",
    "POST /first/dismiss": "stats:read",
    "GET /first/server": "config:write",
    "POST /first/server": "config:write",
    "GET /first/rule": "config:write",
    "GET /api/v1/test/cases": "test:run",
    "POST /api/v1/test/cases": "test:run",
    "POST /api/v1/test/cases/run": "test:run",
    "GET /api/v1/test/cases/named/<id>": "test:run",
    "DELETE /api/v1/test/cases/named/<id>": "test:run",
    "GET /api/v1/sessions/<id>": "messages:read",
    "POST /api/v1/sessions/<id>/kill": "runtime:write",
    "GET /api/v1/sessions/<id>/waits": "messages:read",
    "POST /api/v1/sessions/<id>/tarpit": "runtime:write",
    "GET /api/v1/traces": "messages:read",
    "POST /api/v1/traces": "runtime:write",
    "GET /api/v1/traces/<path:address>": "messages:read",
    "DELETE /api/v1/traces/<path:address>": "runtime:write",
    "POST /live/trace": "runtime:write",
    "POST /live/traces/<path:address>/end": "runtime:write",
    "POST /sessions/<id>/tarpit": "runtime:write",
    "GET /api/v1/sessions/<id>/transcript": "messages:read",
    "GET /api/v1/messages": "messages:read",
    "GET /api/v1/messages/summary": "messages:read",
    "GET /api/v1/messages/export": "messages:read",
    "GET /messages/new": "messages:read",
    "GET /api/v1/sessions/ended": "messages:read",
    "POST /api/v1/history/erase": "system:write",
    "GET /api/v1/searches": "messages:read",
    "POST /api/v1/searches": "messages:read",
    "GET /api/v1/searches/<id>": "messages:read",
    "PUT /api/v1/searches/<id>": "messages:read",
    "DELETE /api/v1/searches/<id>": "messages:read",
    "POST /messages/searches": "messages:read",
    "POST /messages/searches/<id>/remove": "messages:read",
    "GET /api/v1/messages/<id>": "messages:read",
    "GET /api/v1/messages/<id>/explain": "messages:read",
    "GET /api/v1/backends": "stats:read",
    "GET /api/v1/backends/<pool>": "stats:read",
    "POST /api/v1/backends/<pool>/servers/<path:name>/drain": "runtime:write",
    "POST /api/v1/backends/<pool>/servers/<path:name>/ready": "runtime:write",
    "POST /api/v1/backends/<pool>/servers/<path:name>/probe": "runtime:write",
    "GET /api/v1/filters": "config:read",
    "GET /api/v1/config": "config:read",
    "POST /api/v1/config/validate": "config:write",
    "POST /api/v1/config/reload": "config:write",
    "GET /api/v1/config/revisions": "config:read",
    "GET /api/v1/config/revisions/<number>": "config:read",
    "GET /api/v1/config/diff": "config:read",
    "GET /api/v1/config/revisions/<number>/blame": "config:read",
    "GET /api/v1/config/draft": "config:read",
    "PUT /api/v1/config/draft": "config:write",
    "DELETE /api/v1/config/draft": "config:write",
    "GET /api/v1/config/applied": "config:read",
    "GET /api/v1/config/tables": "config:read",
    "POST /api/v1/config/tables": "config:write",
    "GET /api/v1/config/tables/<kind>/<name>": "config:read",
    "PUT /api/v1/config/tables/<kind>/<name>": "config:write",
    "DELETE /api/v1/config/tables/<kind>/<name>": "config:write",
    "GET /config/tables": "config:write",
    "GET /config/tables/<kind>/<name>": "config:write",
    "POST /config/tables/<kind>/<name>": "config:write",
    "GET /api/v1/config/drift": "config:read",
    "POST /api/v1/config/import": "config:write",
    "GET /api/v1/config/export": "config:read",
    "GET /api/v1/config/schema": "config:read",
    "POST /api/v1/config/apply": "config:write",
    "POST /api/v1/config/confirm": "config:write",
    "POST /api/v1/config/rollback": "config:write",
    "POST /api/v1/routes/trace": "config:read",
    "GET /api/v1/sessions/<id>/timeline": "messages:read",
    "GET /api/v1/messages/<id>/timeline": "messages:read",
    "GET /api/v1/messages/<id>/headers": "content:read",
    "GET /api/v1/messages/<id>/raw": "content:read",
    "GET /api/v1/messages/<id>/parts/<number>": "content:read",
    "POST /api/v1/messages/<id>/retest": "test:run",
    "GET /api/v1/quarantine": "quarantine:read",
    "GET /api/v1/quarantine/<id>": "quarantine:read",
    "GET /api/v1/quarantine/<id>/content": "content:read",
    "GET /api/v1/quarantine/<id>/reading": "content:read",
    "POST /api/v1/quarantine/<id>/reading": "content:read",
    "POST /api/v1/quarantine/<id>/reading/approve": "content:read",
    "POST /api/v1/quarantine/<id>/reading/deny": "content:read",
    "POST /quarantine/<id>/reading": "content:read",
    "POST /quarantine/<id>/reading/approve": "content:read",
    "POST /quarantine/<id>/reading/deny": "content:read",
    "GET /api/v1/quarantine/<id>/view": "content:read",
    "GET /api/v1/quarantine/<id>/parts/<number>": "content:read",
    "POST /api/v1/quarantine/<id>/release": "quarantine:release",
    "POST /api/v1/quarantine/<id>/delete": "quarantine:delete",
    "POST /api/v1/quarantine/<id>/deny": "quarantine:release",
    "POST /api/v1/quarantine/<id>/forward": "quarantine:release",
    "POST /api/v1/quarantine/<id>/request": "quarantine:release",
    "POST /api/v1/quarantine/<id>/approve": "quarantine:release",
    "POST /api/v1/quarantine": "quarantine:release",
    "GET /api/v1/outbox": "quarantine:read",
    "POST /api/v1/outbox/<id>/try": "quarantine:release",
    "POST /api/v1/outbox/<id>/cancel": "quarantine:delete",
    "GET /quarantine": "quarantine:read",
    "POST /quarantine": "quarantine:release",
    "GET /quarantine/<id>": "quarantine:read",
    "GET /quarantine/<id>/content": "content:read",
    "GET /quarantine/<id>/view": "content:read",
    "POST /quarantine/<id>/view": "content:read",
    "GET /quarantine/<id>/frame/<number>": "content:read",
    "GET /quarantine/<id>/parts/<number>": "content:read",
    "POST /quarantine/<id>/release": "quarantine:release",
    "POST /quarantine/<id>/request": "quarantine:release",
    "POST /quarantine/<id>/delete": "quarantine:delete",
    "POST /quarantine/<id>/deny": "quarantine:release",
    "GET /held/<token>": "public",
    "POST /held/<token>": "public",
    "GET /api/v1/tickets": "quarantine:read",
    "POST /api/v1/tickets/<message>/grant": "quarantine:release",
    "POST /api/v1/tickets/<message>/deny": "quarantine:release",
    "GET /tickets": "quarantine:read",
    "POST /tickets/<message>/grant": "quarantine:release",
    "POST /tickets/<message>/deny": "quarantine:release",
    "GET /why/<token>": "public",
    "POST /why/<token>": "public",
    "GET /outbox": "quarantine:read",
    "POST /outbox/<id>/try": "quarantine:release",
    "POST /outbox/<id>/cancel": "quarantine:delete",
    "GET /api/v1/users": "access:write",
    "POST /api/v1/users": "access:write",
    "GET /api/v1/users/<name>": "access:write",
    "PATCH /api/v1/users/<name>": "access:write",
    "DELETE /api/v1/users/<name>/sessions": "access:write",
    "DELETE /api/v1/users/<name>/totp": "access:write",
    "POST /api/v1/auth/reauth": "self",
    "POST /api/v1/auth/login": "public",
    "POST /api/v1/auth/login/code": "public",
    "POST /api/v1/auth/logout": "self",
    "POST /api/v1/auth/password": "self",
    "GET /api/v1/auth/totp": "self",
    "POST /api/v1/auth/totp": "self",
    "POST /api/v1/auth/totp/confirm": "self",
    "POST /api/v1/auth/totp/recovery": "self",
    "DELETE /api/v1/auth/totp": "self",
    "GET /account": "self",
    "POST /account/password": "self",
    "POST /account/codes": "self",
    "POST /account/codes/confirm": "self",
    "POST /account/codes/recovery": "self",
    "POST /account/codes/remove": "self",
    "POST /account/sessions/end": "self",
    "GET /audit": "audit:read",
    "GET /access": "access:write",
    "GET /access/roles": "access:write",
    "POST /access/users": "access:write",
    "GET /access/users/<name>": "access:write",
    "POST /access/users/<name>": "access:write",
    "POST /access/users/<name>/invitation": "access:write",
    "POST /access/users/<name>/totp": "access:write",
    "POST /access/users/<name>/sessions": "access:write",
    "POST /access/users/<name>/remove": "access:write",
    "POST /access/tokens": "access:write",
    "POST /access/tokens/<id>/revoke": "access:write",
    "POST /access/sessions": "access:write",
    "POST /access/sso/<name>/test": "access:write",
    "GET /api/v1/sso": "access:write",
    "POST /api/v1/sso/<name>/test": "access:write",
    "POST /login/sso/<name>": "public",
    "GET /login/sso/<name>/back": "public",
    "POST /login/sso/<name>/finish": "public",
    "POST /prove/sso": "self",
    "GET /api/v1/roles": "access:write",
    "GET /prove": "self",
    "POST /prove": "self",
    "GET /login/code": "public",
    "POST /login/code": "public",
    "GET /welcome/<token>": "public",
    "POST /welcome/<token>": "public",
    "POST /api/v1/users/<name>/invitation": "access:write",
    "GET /api/v1/auth/sessions": "self",
    "DELETE /api/v1/auth/sessions/<id>": "self",
    "POST /api/v1/users/<name>/password": "access:write",
    "DELETE /api/v1/users/<name>": "access:write",
    "GET /api/v1/tokens": "access:write",
    "POST /api/v1/tokens": "access:write",
    "DELETE /api/v1/tokens/<id>": "access:write",
    "GET /api/v1/audit": "audit:read",
    "GET /api/v1/audit/verify": "audit:read",
    "GET /api/v1/audit/export": "audit:read",
    "GET /api/v1/me": "self",
    "GET /api/v1/events": "messages:read",
    "POST /api/v1/system/stop": "system:write",
    "GET /api/v1/openapi.json": "self",
    "GET /api/v1/traffic": "traffic:read",
    "GET /api/v1/limits": "traffic:read",
    "GET /api/v1/rules": "config:read",
    "POST /api/v1/rules/try": "test:run",
    "GET /api/v1/dlp/policies": "config:read",
    "GET /dlp": "config:read",
    "GET /api/v1/lists": "config:read",
    "POST /api/v1/lists": "lists:write",
    "POST /api/v1/lists/import": "lists:write",
    "GET /api/v1/lists/export": "config:read",
    "DELETE /api/v1/lists/<kind>/<path:entry>": "lists:write",
    "GET /lists": "config:read",
    "POST /lists/add": "lists:write",
    "POST /lists/remove": "lists:write",
    "POST /lists/import": "lists:write",
    "POST /api/v1/rules/scores": "test:run",
    "GET /rules/scores": "test:run",
    "GET /api/v1/rules/templates": "config:read",
    "GET /api/v1/rules/export": "config:read",
    "POST /api/v1/rules": "config:write",
    "POST /api/v1/rules/import": "config:write",
    "POST /api/v1/rules/reorder": "config:write",
    "GET /api/v1/rules/named/<name>": "config:read",
    "PUT /api/v1/rules/named/<name>": "config:write",
    "PATCH /api/v1/rules/named/<name>": "config:write",
    "DELETE /api/v1/rules/named/<name>": "config:write",
    "GET /api/v1/rules/named/<name>/hits": "messages:read",
    "GET /rules": "config:read",
    "GET /rules/edit/<name>": "config:write",
    "POST /rules/edit/<name>": "config:write",
    "POST /rules/change/<name>": "config:write",
    "GET /test": "test:run",
    "POST /test": "test:run",
    "GET /test/cases": "test:run",
    "POST /test/cases": "test:run",
    "POST /test/cases/<id>/remove": "test:run",
    "GET /test/replay": "test:run",
    "POST /test/replay": "test:run",
    "GET /test/replay/<id>": "test:run",
    "POST /rules/try": "test:run",
    "GET /api/v1/tls-reports": "stats:read",
    "GET /api/v1/registered": "config:read",
    "POST /api/v1/registered/<kind>/<name>": "config:write",
    "DELETE /api/v1/registered/<kind>/<name>": "config:write",
    "POST /api/v1/limits/simulate": "test:run",
    "POST /api/v1/limits/<name>/free": "runtime:write",
    "GET /api/v1/bans": "traffic:read",
    "POST /api/v1/bans": "runtime:write",
    "DELETE /api/v1/bans/<path:key>": "runtime:write",
    "GET /api/v1/senders": "traffic:read",
    "GET /api/v1/senders/known": "traffic:read",
    "POST /api/v1/senders/forget": "runtime:write",
    "GET /login": "public",
    "POST /login": "public",
    "GET /setup": "public",
    "POST /setup": "public",
    "GET /assets/<digest>/app.css": "public",
    "GET /assets/<digest>/logo.svg": "public",
    "GET /assets/<digest>/onward.js": "public",
    "GET /assets/<digest>/pico.min.css": "public",
    "GET /assets/<digest>/<name>": "self",
    "POST /logout": "self",
    "POST /theme": "self",
    "GET /": "stats:read",
    "GET /sessions": "traffic:read",
    "GET /live": "traffic:read",
    "GET /backends/<pool>": "stats:read",
    "POST /backends/<pool>/servers/<path:name>/maint": "runtime:write",
    "POST /backends/<pool>/servers/<path:name>/weight": "runtime:write",
    "POST /probe": "config:write",
    "POST /overrides/<kind>/<pool>/<path:name>/end": "runtime:write",
    "GET /routes": "config:read",
    "POST /intake/pause": "system:write",
    "POST /intake/resume": "system:write",
    "GET /tls": "config:read",
    "POST /tls/reload": "config:write",
    "GET /tasks": "messages:read",
    "GET /tasks/<id>/result": "messages:read",
    "POST /tasks/<id>/cancel": "messages:read",
    "GET /logs": "config:read",
    "GET /logs/download": "config:read",
    "POST /logs/level": "system:write",
    "POST /test/send": "test:run",
    "POST /live/kill": "runtime:write",
    "POST /live/ban": "runtime:write",
    "GET /sessions/<id>": "messages:read",
    "GET /sessions/<id>/transcript": "messages:read",
    "POST /sessions/<id>/kill": "runtime:write",
    "GET /messages": "messages:read",
    "GET /recent": "messages:read",
    "GET /search": "messages:read",
    "POST /search": "messages:read",
    "GET /backends": "stats:read",
    "GET /stats": "stats:read",
    "GET /stats/csv": "stats:read",
    "POST /backends/<pool>/servers/<path:name>/drain": "runtime:write",
    "POST /backends/<pool>/servers/<path:name>/ready": "runtime:write",
    "POST /backends/<pool>/servers/<path:name>/probe": "runtime:write",
    "GET /filters": "config:read",
    "GET /traffic": "traffic:read",
    "GET /limits": "traffic:read",
    "POST /limits/free": "runtime:write",
    "POST /limits/simulate": "test:run",
    "POST /bans/set": "runtime:write",
    "POST /bans/lift": "runtime:write",
    "GET /senders": "traffic:read",
    "POST /senders/forget": "runtime:write",
    "GET /config": "config:read",
    "POST /config/validate": "config:write",
    "POST /config/reload": "config:write",
    "GET /config/<int:number>": "config:read",
    "POST /config/draft": "config:write",
    "POST /config/apply": "config:write",
    "POST /config/import": "config:write",
    "POST /config/confirm": "config:write",
    "POST /config/<int:number>/rollback": "config:write",
    "GET /help": "self",
    "GET /my": "self",
    "POST /api/v1/quarantine/<id>/list": "lists:write",
    "POST /quarantine/<id>/list": "lists:write",
    "GET /webhooks": "config:read",
    "GET /webhooks/<name>": "config:read",
    "POST /webhooks/<name>/test": "system:write",
    "POST /webhooks/<name>/calls/<id>": "system:write",
    "GET /alerts": "stats:read",
    "POST /alerts": "runtime:write",
    "GET /api/v1/webhooks": "config:read",
    "GET /api/v1/webhooks/<name>": "config:read",
    "GET /api/v1/webhooks/<name>/deliveries": "messages:read",
    "POST /api/v1/webhooks/<name>/test": "system:write",
    "POST /api/v1/webhooks/<name>/deliveries/<id>/replay": "system:write",
    "GET /api/v1/alerts/mutes": "stats:read",
    "POST /api/v1/alerts/mutes": "runtime:write",
    "DELETE /api/v1/alerts/mutes/<path:id>": "runtime:write",
    "POST /my/<id>": "self",
    "POST /my/lists": "self",
    "POST /my/preferences": "self",
    "GET /api/v1/me/quarantine": "self",
    "GET /api/v1/me/quarantine/<id>": "self",
    "POST /api/v1/me/quarantine/<id>/release": "self",
    "POST /api/v1/me/quarantine/<id>/request": "self",
    "POST /api/v1/me/quarantine/<id>/delete": "self",
    "POST /api/v1/me/quarantine/<id>/restore": "self",
    "GET /api/v1/me/lists": "self",
    "POST /api/v1/me/lists": "self",
    "DELETE /api/v1/me/lists/<entry>": "self",
    "GET /api/v1/me/preferences": "self",
    "PUT /api/v1/me/preferences": "self",
    "POST /csp-report": "public",
    "GET /.well-known/security.txt": "self",
    "GET /problems/<slug>": "self",
}


def place(route: Route) -> str:
    """A path that the route serves."""
    path = re.sub(r"<int:\w+>", "1", re.sub(r"<path:name>", "127.0.0.1:2600", route.path))
    return re.sub(r"<\w+>", "thing", path)


def others(path: str) -> list[str]:
    """The same path, written otherwise."""
    first = path[1:2]
    found = [path + "/", "/" + path, path + "?x=1", path + "//", path.replace("/", "/./"), path + "/."]
    if first:
        found += [
            f"/%{ord(first):02x}{path[2:]}",
            path.replace("/", "%2f", 2)[0:0] + path + "%2f",
            path.upper(),
        ]
    return found


class MatrixTests(SynchronousTestCase):
    """Permissions, route by route."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.desk.users.add_user("ann", "owner", PASSWORD)

    def send(self, route: Route, path: str, **more: object) -> int:
        if route.path == "/api/v1/events" and more:
            # An answer that goes on is looked at elsewhere.
            path = path.partition("?")[0] + "?topics=nothing"
        headers = {}
        if route.method == "POST":
            headers["Content-Type"] = (
                "application/x-www-form-urlencoded" if route.kind == "page" else "application/json"
            )
        return self.desk.ask(route.method, path, headers=headers, **more).status  # type: ignore[arg-type]

    def test_S_04_every_route_has_the_permission_that_was_meant(self) -> None:
        """The routes are those of the matrix, no more and no fewer."""
        found = {f"{route.method} {route.path}": route.permission for route in ROUTES}
        self.assertEqual(found, MATRIX)
        self.assertEqual(len(found), len(ROUTES))

    def test_S_04_klein_serves_nothing_else(self) -> None:
        """What is bound is what was declared."""
        for door in ("web", "local", "health"):
            rules = {
                f"{method} {rule.rule}"
                for rule in _Front(self.desk.office, door).app.url_map.iter_rules()
                for method in (rule.methods or set()) - {"HEAD"}
            }
            self.assertEqual(rules, {f"{r.method} {r.path}" for r in ROUTES if door in r.doors})

    def test_health_endpoint_serves_health_only(self) -> None:
        """The second endpoint has four paths, all by GET."""
        paths = {f"{route.method} {route.path}" for route in ROUTES if "health" in route.doors}
        self.assertEqual(paths, {"GET /livez", "GET /readyz", "GET /startupz", "GET /metrics"})
        self.assertEqual(self.desk.ask("GET", "/api/v1/overview", door="health").status, 404)

    def test_S_04_roles_hold_what_was_meant(self) -> None:
        """Each permission and the roles that hold it."""
        for permission in PERMISSIONS:
            if permission not in ("public", "near"):
                holders = {role for role, held in ROLES.items() if permission in held}
                self.assertEqual(holders, WANTED[permission], permission)

    def test_S_04_strangers_get_nothing(self) -> None:
        """Without a login: 401 for programs, the login page for people."""
        for route in ROUTES:
            if route.permission in ("public", "near"):
                continue
            status = self.send(route, place(route))
            self.assertEqual(status, 303 if route.kind == "page" and route.method == "GET" else 401, route.path)

    def test_S_04_strangers_get_nothing_by_other_spellings(self) -> None:
        """A path written otherwise opens no more than the plain one, and says no more of what there is."""
        for route in ROUTES:
            if route.permission in ("public", "near"):
                continue
            for path in others(place(route)):
                self.assertIn(self.send(route, path), (303, 400, 401), f"{route.method} {path}")

    def test_S_04_unknown_paths_look_like_known_ones_to_strangers(self) -> None:
        """Nobody can find out which routes exist."""
        self.assertEqual(self.desk.ask("GET", "/api/v1/nothing").status, 401)
        self.assertEqual(self.desk.ask("DELETE", "/api/v1/overview").status, 401)
        self.assertEqual(self.desk.ask("GET", "/nothing").header("location"), "/login?next=%2Fnothing")

    def test_S_04_each_role_on_each_route(self) -> None:
        """403 exactly where the role lacks the permission."""
        self.desk.office.control.stop = None
        for role in ROLES:
            token = self.desk.token(role)
            for route in ROUTES:
                if route.permission in ("public", "near"):
                    continue
                for path in (place(route), place(route) + "/") if route.path != "/" else ("/",):
                    status = self.send(route, path, token=token)
                    if path.endswith("/") and path != "/":
                        self.assertIn(status, (404, 403, 405), f"{role} {route.method} {path}")
                    elif role in WANTED[route.permission]:
                        self.assertNotIn(status, (401, 403), f"{role} {route.method} {path}")
                    else:
                        self.assertEqual(status, 403, f"{role} {route.method} {path}")

    def test_an_unknown_role_holds_nothing(self) -> None:
        """A role of another release opens nothing."""
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", role="emperor").status, 403)

    def test_health_is_for_loopback(self) -> None:
        """From this machine without a login; from elsewhere, and through a proxy, only with one."""
        for path in ("/livez", "/readyz", "/startupz", "/metrics"):
            self.assertEqual(self.desk.ask("GET", path).status, 200, path)
            self.assertEqual(self.desk.ask("GET", path, peer="192.0.2.1").status, 401, path)
            through = {"X-Forwarded-For": "192.0.2.1"}
            self.assertEqual(self.desk.ask("GET", path, host="admin.example.com", headers=through).status, 401, path)
            self.assertEqual(self.desk.ask("GET", path, host="localhost", headers=through).status, 401, path)
            self.assertEqual(self.desk.ask("GET", path, peer="192.0.2.1", role="helpdesk").status, 403, path)
            self.assertEqual(self.desk.ask("GET", path, peer="192.0.2.1", role="auditor").status, 200, path)

    def test_S_18_no_mutation_by_get(self) -> None:
        """A GET of what changes something is 405, and names what would be taken."""
        token = self.desk.token("owner")
        gets = {route.path for route in ROUTES if route.method == "GET"}
        for route in ROUTES:
            if route.method == "GET" or route.path in gets:
                continue
            if f"GET {route.path}" in MATRIX or route.path.startswith(("/backends/", "/api/v1/backends/")):
                continue
            answer = self.desk.ask("GET", place(route), token=token)
            self.assertEqual(answer.status, 405, route.path)
            self.assertIn(route.method, answer.header("allow"))

    def test_a_page_of_a_session_exists_for_messages_too(self) -> None:
        """The id that ends a reply opens the page."""
        facts = make_session()
        self.desk.history.keep(facts)
        for reference in (facts.id, f"{facts.id}.1"):
            self.assertEqual(self.desk.ask("GET", f"/sessions/{reference}", role="helpdesk").status, 200)
        self.assertEqual(self.desk.ask("GET", f"/sessions/{facts.id}.2", role="helpdesk").status, 404)
