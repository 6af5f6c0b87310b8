# ruff: noqa: E501 - tables
"""Hosts that belong to nobody in particular: mailboxes, pages, forms and short links that anybody may have.

A link to one of them says nothing of who made it, and an address there nothing of a company. No list of bad hosts:
each serves millions of honest people, so what is found by them weighs little alone.
"""

from __future__ import annotations

from typing import Final

#: Mailboxes for anybody.
FREEMAIL: Final = frozenset(
    {
        "gmail.com", "googlemail.com", "yahoo.com", "yahoo.co.uk", "yahoo.fr", "yahoo.de", "yahoo.es", "yahoo.it",
        "yahoo.co.jp", "yahoo.com.br", "ymail.com", "rocketmail.com", "outlook.com", "hotmail.com", "hotmail.co.uk",
        "hotmail.fr", "hotmail.it", "hotmail.es", "hotmail.de", "outlook.fr", "outlook.de", "outlook.es", "live.com",
        "live.co.uk", "live.fr", "msn.com", "aol.com", "icloud.com", "me.com", "mac.com", "gmx.com", "gmx.de", "gmx.net",
        "gmx.at", "gmx.ch", "web.de", "t-online.de", "freenet.de", "mail.com", "email.com", "mail.ru", "bk.ru", "list.ru",
        "inbox.ru", "yandex.ru", "yandex.com", "rambler.ru", "ukr.net", "protonmail.com", "proton.me", "tutanota.com",
        "tutanota.de", "zoho.com", "qq.com", "163.com", "126.com", "sina.com", "naver.com", "daum.net", "hanmail.net",
        "rediffmail.com", "orange.fr", "wanadoo.fr", "free.fr", "laposte.net", "sfr.fr", "libero.it", "virgilio.it",
        "tiscali.it", "alice.it", "uol.com.br", "bol.com.br", "terra.com.br", "seznam.cz", "centrum.cz", "wp.pl", "o2.pl",
        "onet.pl", "interia.pl", "btinternet.com", "comcast.net", "verizon.net", "att.net", "sbcglobal.net", "bluewin.ch",
        "telenet.be", "skynet.be", "ziggo.nl", "kpnmail.nl", "hotmail.nl", "live.nl", "netzero.net", "juno.com",
        "lycos.com", "excite.com", "usa.net", "eudoramail.com",
    }
)  # fmt: skip

#: Short links: where they lead is not to be seen.
SHORT: Final = frozenset(
    {
        "bit.ly", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "v.gd", "buff.ly", "rebrand.ly", "cutt.ly", "rb.gy",
        "shorturl.at", "t.ly", "tiny.cc", "s.id", "bl.ink", "lnkd.in", "short.io", "shorturl.gg", "qrco.de", "linktr.ee",
        "t.me", "u.to", "clck.ru", "snip.ly", "soo.gd", "trib.al", "dlvr.it", "bit.do", "adf.ly", "1drv.ms", "shorte.st",
        "urlz.fr", "me2.do", "han.gl", "ko.gl", "x.co", "l.ead.me", "qr.codes", "urlzs.com", "2u.pw", "tr.ee", "in.mt",
    }
)  # fmt: skip

#: Pages, forms, files and storage that anybody fills; written as the end of a host name.
HOSTING: Final = (
    "web.app", "firebaseapp.com", "pages.dev", "workers.dev", "r2.dev", "github.io", "gitlab.io", "netlify.app",
    "vercel.app", "herokuapp.com", "onrender.com", "glitch.me", "repl.co", "replit.app", "weebly.com", "weeblysite.com",
    "wixsite.com", "wixstudio.io", "wordpress.com", "blogspot.com", "blogger.com", "webflow.io", "square.site",
    "squarespace.com", "carrd.co", "strikingly.com", "jimdosite.com", "jimdofree.com", "yolasite.com", "godaddysites.com",
    "mystrikingly.com", "webnode.page", "webnode.com", "ucraft.site", "tilda.ws", "framer.app", "framer.website",
    "notion.site", "gitbook.io", "surge.sh", "fleek.co", "ipfs.io", "dweb.link", "cf-ipfs.com", "infura-ipfs.io",
    "ngrok.io", "ngrok-free.app", "trycloudflare.com", "azurewebsites.net", "azurestaticapps.net", "cloudapp.net",
    "web.core.windows.net", "blob.core.windows.net", "amplifyapp.com", "s3.amazonaws.com", "elasticbeanstalk.com",
    "cloudfront.net", "storage.googleapis.com", "appspot.com", "run.app", "sites.google.com", "forms.gle",
    "docs.google.com", "drive.google.com", "script.google.com", "forms.office.com", "sway.office.com", "typeform.com",
    "jotform.com", "formstack.com", "123formbuilder.com", "cognitoforms.com", "surveymonkey.com", "mailchi.mp",
    "canva.com", "padlet.com", "evernote.com", "dropbox.com", "mediafire.com", "we.tl", "backblazeb2.com", "000webhostapp.com",
    "infinityfreeapp.com", "byethost.com", "duckdns.org", "no-ip.org", "ddns.net", "dynv6.net", "hopto.org", "zapto.org",
    "geocities.com", "tripod.com", "angelfire.com", "linodeobjects.com", "digitaloceanspaces.com", "ondigitalocean.app",
    "myclickfunnels.com", "clickfunnels.com", "systeme.io", "translate.goog", "filesusr.com", "builderall.com", "lovable.app",
)  # fmt: skip


def is_hosting(host: str) -> bool:
    """True for a page that anybody may have made."""
    return host.endswith(HOSTING) and any(host == end or host.endswith(f".{end}") for end in HOSTING)
