"""The servers of the filter benchmark: how each is set up for the same checks in front of the same backend.

All hear from the loader who the client is (PROXY header), ask the same DNS server, refuse what the probes show, and
pass everything else to the backend. State lies in a folder of memory where the machine has one: no disk is measured.

- `smtpgate` with spf, dkim, dmarc, dnsbl, iprev, attachments and links; log, numbers and history are on.
- `haraka` with its modules dns-list, spf, dkim, fcrdns and attachment, and bsdtar for archives, if it is there; npm
  has no module for DMARC, and none for links that works without a list in the DNS. Its log is off.
- `rspamd`: Postfix with rspamd as its milter (self-scan proxy, two workers) and spf, dkim, dmarc, rbl, mime_types,
  phishing and a multimap of URLs; nothing else of rspamd is loaded. Postfix answers from its queue, which lies in
  memory, and passes the mail on afterwards; both count. Its log is off.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from tests.bench.mail_mix import BLOCK_LISTS, LISTED_HOST, RECIPIENT

_DOMAIN = RECIPIENT.partition("@")[2]
_LISTS = ", ".join(f'{{ zone = "{zone}", weight = 4.0 }}' for zone in BLOCK_LISTS)
#: Haraka asks for a newer node than a stable distribution has; npm has it too.
HARAKA_MODULES = (
    "node@22 Haraka haraka-plugin-spf haraka-plugin-dkim haraka-plugin-dns-list haraka-plugin-attachment "
    "haraka-plugin-fcrdns"
)


@attrs.frozen
class Setup:
    """Where a server lives and what is around it.

    :ivar aux: a second port of its own
    :ivar resolv: a resolv.conf that names the DNS server
    """

    folder: Path
    port: int
    aux: int
    backend: int
    dns_address: str
    dns_port: int
    resolv: Path
    haraka: Path
    profile: str = ""

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def with_dns(self, command: Sequence[str]) -> list[str]:
        """A command that sees our resolv.conf in place of the machine's."""
        mount = f'mount --bind {self.resolv} /etc/resolv.conf && exec "$@"'
        return ["unshare", "-m", "sh", "-c", mount, "sh", *command]


@attrs.frozen
class Peer:
    """One server.

    :ivar missing: what the machine lacks for it; "" if nothing
    :ivar start: writes the configuration; the commands to run, which stay in the foreground
    :ivar refuses: the probes that it must refuse
    :ivar is_queue: it passes mail on after it has answered
    """

    name: str
    missing: Callable[[Path], str]
    start: Callable[[Setup], list[list[str]]]
    refuses: frozenset[str]
    is_queue: bool = False


def _smtpgate(setup: Setup) -> list[list[str]]:
    config = setup.write(
        "smtpgate.toml",
        f"""
hostname = "gate.bench.test"
state_dir = "state"
local_domains = ["{_DOMAIN}"]
[admin]
listen = "off"
[listeners.mx]
listen = ["tcp:{setup.port}:interface=127.0.0.1"]
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
[backends.sink]
servers = ["127.0.0.1:{setup.backend}"]
tls = "off"
[[routes]]
backend = "sink"
[resolver]
servers = ["{setup.dns_address}:{setup.dns_port}"]
[[filters]]
use = "iprev"
[[filters]]
use = "spf"
[[filters]]
use = "dkim"
[[filters]]
use = "dmarc"
options = {{ enforce = "reject" }}
[[filters]]
use = "dnsbl"
options = {{ reject_at = 4.0, lists = [{_LISTS}] }}
[[filters]]
use = "attachments"
[[filters]]
use = "links"
options = {{ domains = ["{LISTED_HOST}"], listed = "reject" }}
""",
    )
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="]
    if setup.profile:
        twistd += ["--profiler=cprofile", "--savestats", f"--profile={setup.profile}"]
    return [[sys.executable, *twistd, "smtpgate", "--config", str(config)]]


def _tools(*names: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return next((f"no {name}" for name in names if shutil.which(name, path=path) is None), "")


def _need_root() -> str:
    return "" if not os.geteuid() else "it must be started by root"


def _no_haraka(folder: Path) -> str:
    names = [name.partition("@")[0] for name in HARAKA_MODULES.split()]
    absent = [name for name in names if not (folder / "node_modules" / name).is_dir()]
    hint = f"; in {folder}: npm install --omit=optional {HARAKA_MODULES}"
    return _need_root() or _tools("unshare", "npm") or (f"no {absent[0]}{hint}" if absent else "")


def _haraka(setup: Setup) -> list[list[str]]:
    zones = "\n".join(f"zones[]={zone}" for zone in BLOCK_LISTS)
    for name, text in {
        "smtp.ini": f"listen=127.0.0.1:{setup.port}\nnodes=0\n",
        "plugins": "fcrdns\ndns-list\nspf\nrcpt_to.in_host_list\nattachment\ndkim\nqueue/smtp_forward\n",
        "host_list": f"{_DOMAIN}\n",
        "log.ini": "[main]\nlevel=crit\nformat=default\n",
        "me": "gate.bench.test\n",
        # The file replaces the one of the package as a whole, so what the rest of it says is said again.
        "connection.ini": "[haproxy]\nhosts[]=127.0.0.1\n[max]\nbytes=104857600\nmime_parts=1000\nline_length=512\n"
        "data_line_length=992\n[headers]\nmax_lines=1000\nmax_received=100\n[message]\nhelo=hello\nclose=bye\n"
        "[uuid]\nbanner_chars=6\ndeny_chars=0\n",
        "dns-list.ini": f"[main]\nsearch=all\n{zones}\n",
        "dkim.ini": "[sign]\nenabled=false\n[verify]\nenabled=true\n",
        "spf.ini": "[deny]\nmfrom_fail=true\n",
        "attachment.ini": "[main]\ndisallowed_extensions=ade,adp,bat,chm,cmd,com,cpl,exe,hta,ins,isp,jar,jse,lib,lnk,"
        "mde,msc,msp,mst,pif,scr,sct,shb,sys,vb,vbe,vbs,vxd,wsc,wsf,wsh,dll\n[archive]\nextensions=zip,tar,gz,rar,7z\n",
        "smtp_forward.ini": f"host=127.0.0.1\nport={setup.backend}\n",
    }.items():
        setup.write(f"config/{name}", text)
    setup.write("package.json", "{}")
    (setup.folder / "node_modules").symlink_to(setup.haraka.resolve() / "node_modules")
    node = setup.folder / "node_modules/.bin/node"
    return [setup.with_dns([str(node), str(setup.folder / "node_modules/Haraka/bin/haraka"), "-c", str(setup.folder)])]


def _no_rspamd(_: Path) -> str:
    return _need_root() or _tools("postfix", "rspamd", "unshare")


def _postfix(setup: Setup) -> list[str]:
    conf = setup.folder / "postfix"
    data = setup.folder / "data"
    data.mkdir()
    shutil.chown(data, "postfix")
    (setup.folder / "queue").mkdir()
    setup.write(
        "postfix/main.cf",
        f"""
compatibility_level = 3.6
queue_directory = {setup.folder}/queue
data_directory = {data}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = gate.bench.test
mydestination =
mynetworks = 127.0.0.0/8
relay_domains = {_DOMAIN}
relayhost = [127.0.0.1]:{setup.backend}
disable_dns_lookups = yes
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_upstream_proxy_protocol = haproxy
smtpd_client_connection_count_limit = 0
smtpd_milters = inet:127.0.0.1:{setup.aux}
milter_protocol = 6
milter_default_action = tempfail
milter_mail_macros = i {{mail_addr}} {{client_addr}} {{client_name}} {{auth_authen}}
message_size_limit = 104857600
mailbox_size_limit = 0
smtp_tls_security_level = none
smtpd_tls_security_level = none
initial_destination_concurrency = 20
""",
    )
    setup.write(
        "postfix/master.cf",
        f"""
127.0.0.1:{setup.port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
proxymap  unix - - n - - proxymap
tlsmgr    unix - - n 1000? 1 tlsmgr
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
""",
    )
    # "check" makes the folders of the queue.
    run = f"/usr/sbin/postfix -c {conf} check && exec /usr/lib/postfix/sbin/master -d -c {conf}"
    return setup.with_dns(["sh", "-c", run])


def _rspamd(setup: Setup) -> list[list[str]]:
    home = setup.folder / "rspamd"
    home.mkdir()
    shutil.chown(home, "_rspamd")
    links = setup.write("links.map", f"{LISTED_HOST}\n")
    globals_ = setup.write("globals.lua", 'require "global_functions" ()\n')
    lists = "\n".join(
        f'    bench{at} {{ symbol = "BENCH_RBL{at}"; rbl = "{zone}"; checks = ["from"]; ipv6 = false; }}'
        for at, zone in enumerate(BLOCK_LISTS)
    )
    weights = "\n".join(f'    "BENCH_RBL{at}" {{ weight = 20.0; }}' for at in range(len(BLOCK_LISTS)))
    config = setup.write(
        "rspamd.conf",
        f"""
options {{
  filters = "dkim";
  dns {{ nameserver = ["{setup.dns_address}:{setup.dns_port}:1"]; timeout = 1s; sockets = 16; retransmits = 5; }}
  tempdir = "{home}";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
  control_socket = "{home}/control.sock mode=0600";
  hs_cache_dir = "{home}";
  cache_file = "{home}/symbols.cache";
  pidfile = "{home}/pid";
  local_addrs = [ "127.0.0.0/8" ];
  history_rows = 200;
}}
logging {{ type = "file"; filename = "{home}/log"; level = "error"; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{setup.aux}";
  milter = yes;
  timeout = 60s;
  count = 2;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
actions {{ reject = 15; add_header = 8; }}
group "bench" {{ symbols {{
    "MIME_BAD_EXTENSION" {{ weight = 20.0; }}
    "MIME_BAD" {{ weight = 20.0; }}
    "BENCH_URL" {{ weight = 20.0; }}
    "R_SPF_ALLOW" {{ weight = -0.2; }} "R_DKIM_ALLOW" {{ weight = -0.2; }} "PHISHING" {{ weight = 4.0; }}
{weights}
}} }}
# What the modules take for granted; the file of the package loads it with all its rules.
lua = "{globals_}";
modules {{ path = "/usr/share/rspamd/plugins/"; }}
spf {{ spf_cache_size = 2k; spf_cache_expire = 1d; }}
dkim {{ dkim_cache_size = 2k; dkim_cache_expire = 1d; }}
dmarc {{ actions = {{ quarantine = "add_header"; reject = "reject"; }} }}
rbl {{
  default_from = true; local_exclude_ip_map = [];
  rbls {{
{lists}
  }}
}}
mime_types {{ file = "/etc/rspamd/maps.d/mime_types.inc"; }}
phishing {{ symbol = "PHISHING"; openphish_enabled = false; phishtank_enabled = false; }}
multimap {{ bench_url {{ type = "url"; map = "{links}"; symbol = "BENCH_URL"; score = 20.0; }} }}
""",
    )
    rspamd = ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", str(config)]
    return [_postfix(setup), rspamd]


_ALL = frozenset({"attachment", "dnsbl", "dmarc", "url"})
PEERS = {
    peer.name: peer
    for peer in (
        Peer("smtpgate", lambda _: "", _smtpgate, _ALL),
        # The probe for DMARC has no SPF either, and Haraka refuses that.
        Peer("haraka", _no_haraka, _haraka, _ALL - {"url"}),
        Peer("rspamd", _no_rspamd, _rspamd, _ALL, is_queue=True),
    )
}
