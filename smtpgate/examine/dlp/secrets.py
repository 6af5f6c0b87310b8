"""Detectors of keys, tokens and passwords, by the forms that services give them.

What a service marks with a beginning of its own is sure by itself; what is only so many hexadecimal digits needs the
name of the service near. Keys that documents show as examples are none.

RFC 7468 and RFC 4880 (armour of keys), RFC 7519 (JWT), RFC 3986 section 3.2.1 (passwords in URLs).
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.dlp.detector import Detector, words


def _token(name: str, about: str, pattern: str, good: str, *, level: str = "high", evidence: str = "", shown: int = 4,
           check: str = "random", near: str = "high", bad: str = "", window: int = 300) -> Detector:  # fmt: skip
    """One kind of token."""
    return Detector(
        name, "secret", about, pattern=pattern, level=level, check=check, evidence=words(evidence), near=near,
        shown=(shown, 4 if shown else 0), weight=8, window=window, good=(good,) if good else (),
        bad=(bad,) if bad else (),
    )  # fmt: skip


# Vectors are put together here, so that this file holds no token that a scanner of sources would tell of.
_R40: Final = "q7Zt2LmX9vB4nKc8RwYp3HdGs6TjFa5UeQoN1iDx"
_HEX: Final = "9f2c4b7a1e8d3650c2b9f7e4a1d80635"
_HASHES: Final = "token|secret|key|password|credential|api"

SECRETS: Final = (
    _token("aws-access-key", "AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
           "AKIA" + "Q3EGRZ5TXWBN6YVC",
           bad="AKIAIOSFODNN7EXAMPLE"),
    _token("aws-secret-key", "AWS secret key, with its name near",
           r"(?i)\b(?:aws_?(?:secret|sec|sk)[a-z_]{0,24}|secret_?access_?key)[\"']?\s{0,3}"
           r"[:=]{1,2}\s{0,3}[\"']?[A-Za-z0-9/+]{40}\b", "aws_secret_access_key = " + _R40,
           bad="aws_secret_access_key = " + "x" * 40),
    _token("gcp-api-key", "Google API key", r"\bAIza[0-9A-Za-z_-]{35}", "AIza" + "Sy" + _R40[:33],
           bad="AIza" + "Sy" + "x" * 33),
    _token("gcp-service-account", "key of a Google service account",
           r"\"private_key_id\"\s{0,8}:\s{0,8}\"[0-9a-f]{40}\"",
           '{"type": "service_account", "private_key_id": "' + _HEX + '5b7c9d1e"}', shown=0,
           bad='"private_key_id": "..."'),
    _token("gcp-oauth-secret", "Google OAuth client secret", r"\bGOCSPX-[0-9A-Za-z_-]{28}", "GOCSPX-" + _R40[:28]),
    _token("azure-storage-key", "key of an Azure storage account, bus or hub",
           r"(?:AccountKey|SharedAccessKey)[\"']?\s{0,2}[=:]\s{0,2}[\"']?[A-Za-z0-9+/]{43}(?:[A-Za-z0-9+/]{43})?={1,2}",
           "AccountKey=" + _R40 + _R40 + "q7Zt2L==", shown=11, bad="AccountKey=..."),
    _token("azure-client-secret", "secret of an Azure application",
           r"\b[a-zA-Z0-9_~.-]{3}[0-9]Q~[a-zA-Z0-9_~.-]{31,34}",
           "abC8Q~" + _R40[:34], shown=6),
    _token("github-token", "GitHub token",
           r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59})",
           "ghp_" + _R40[:36], bad="ghp_" + "x" * 36),
    _token("gitlab-token", "GitLab token",
           r"\b(?:gl(?:pat|ptt|dt|rt|rtr|cbt|ft|soat|agent|oas|imt|ffct)-|GR1348941)[0-9A-Za-z_-]{20,64}",
           "glpat-" + _R40[:20], shown=6, bad="glpat-" + "x" * 20),
    _token("slack-token", "Slack token",
           r"\b(?:xox[abceoprs](?:\.xox[bp])?-(?:[0-9A-Za-z]{1,20}-){1,5}[0-9A-Za-z]{16,}"
           r"|xapp-[0-9]-[A-Z0-9]{5,15}-[0-9]{5,15}-[0-9a-f]{32,64})",
           "xoxb-" + "263594206564-2343594206574-" + _R40[:24],
           shown=5),
    _token("slack-webhook", "Slack webhook",
           r"\bhooks\.slack\.com/(?:services|workflows)/[TA][0-9A-Z]{6,12}/[0-9A-Z]{6,12}/"
           r"[0-9A-Za-z]{16,40}", "https://hooks.slack.com/services/" + "T02GHJ5KL/B03QWERTY/" + _R40[:24], shown=15),
    _token("stripe-key", "Stripe secret key", r"\b(?:sk|rk)_live_[0-9A-Za-z]{16,}", "sk_live_" + _R40[:24], shown=8,
           bad="pk_live_" + _R40[:24]),
    _token("stripe-test-key", "Stripe secret key for tests", r"\b(?:(?:sk|rk)_test_|whsec_)[0-9A-Za-z]{16,}",
           "sk_test_" + _R40[:24], level="medium", near="medium", shown=8),
    _token("twilio-key", "Twilio key", r"\bSK[0-9a-f]{32}\b", "Twilio SK" + _HEX, level="medium", evidence="twilio",
           bad="sk" + _HEX),
    _token("sendgrid-key", "SendGrid key", r"\bSG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
           "SG." + _R40[:22] + "." + _R40
           + "q7Z"),
    _token("mailgun-key", "Mailgun key", r"\bkey-[0-9a-f]{32}\b", "mailgun key-" + _HEX, level="medium",
           evidence="mailgun"),
    _token("mailchimp-key", "Mailchimp key", r"\b[0-9a-f]{32}-us[0-9]{1,2}\b", _HEX + "-us12"),
    _token("npm-token", "npm token", r"\bnpm_[0-9A-Za-z]{36}\b", "npm_" + _R40[:36], bad="npm_" + "x" * 36),
    _token("pypi-token", "PyPI token", r"\bpypi-AgE[0-9A-Za-z_-]{50,}", "pypi-AgEIcHlwaS5vcmc" + _R40 + _R40,
           shown=5),
    _token("rubygems-key", "RubyGems key", r"\brubygems_[0-9a-f]{48}\b", "rubygems_" + _HEX + _HEX[:16], shown=9),
    _token("docker-token", "Docker Hub token", r"\bdckr_(?:pat|oat)_[0-9A-Za-z_-]{27,40}", "dckr_pat_" + _R40[:27],
           shown=9),
    _token("openai-key", "OpenAI key", r"\bsk-(?:[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}|(?:proj|svcacct|admin|None)-"
           r"[0-9A-Za-z_-]{40,})", "sk-proj-" + _R40 + _R40[:8], shown=3),
    _token("anthropic-key", "Anthropic key", r"\bsk-ant-[a-z]{3,8}[0-9]{2}-[0-9A-Za-z_-]{40,}",
           "sk-ant-api03-" + _R40 + _R40, shown=7),
    _token("huggingface-token", "Hugging Face token", r"\bhf_[A-Za-z]{34}\b",
           "hf_" + "qZtLmXvBnKcRwYpHdGsTjFaUeQoNiDxMkW",
           shown=3),
    _token("telegram-token", "token of a Telegram bot", r"\b[0-9]{8,10}:AA[0-9A-Za-z_-]{33}\b",
           "8123456701:AA" + _R40[:33],
           shown=2),
    _token("discord-webhook", "Discord webhook",
           r"\bdiscord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[0-9A-Za-z_-]{60,70}",
           "https://discord.com/api/webhooks/104857600012345678/" + _R40 + _R40[:24], shown=11),
    _token("shopify-token", "Shopify token", r"\bshp(?:at|ca|pa|ss|ua)_[0-9a-f]{32}\b", "shpat_" + _HEX, shown=6),
    _token("digitalocean-token", "DigitalOcean token", r"\bdo[opr]_v1_[0-9a-f]{64}\b", "dop_v1_" + _HEX + _HEX[::-1],
           shown=7),
    _token("databricks-token", "Databricks token", r"\bdapi[0-9a-f]{32}\b", "dapi" + _HEX),
    _token("grafana-token", "Grafana token", r"\bgl(?:sa|c)_[0-9A-Za-z+/_]{32,}", "glsa_" + _R40[:32], shown=5),
    _token("vault-token", "HashiCorp Vault token", r"\bhv[sbr]\.[0-9A-Za-z_-]{24,}", "hvs." + _R40),
    _token("atlassian-token", "Atlassian token", r"\bATATT3[0-9A-Za-z_=-]{60,}", "ATATT3" + _R40 + _R40, shown=6),
    _token("square-token", "Square token", r"\b(?:sq0(?:atp|csp)-[0-9A-Za-z_-]{22,43}|EAAA[0-9A-Za-z_-]{60})",
           "sq0atp-" + _R40[:22], shown=7),
    _token("new-relic-key", "New Relic key", r"\bNRAK-[0-9A-Z]{27}\b", "NRAK-" + "Q7ZT2LMX9VB4NKC8RWYP3HDGS6T",
           shown=5),
    _token("age-key", "age secret key", r"\bAGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b",
           "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE", shown=15),
    _token("jwt", "JSON web token", r"\bey[IJ][0-9A-Za-z_-]{8,}\.ey[IJ][0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{20,}",
           "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9." + _R40, check="jwt", shown=3,
           bad="eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9." + _R40),
    _token("private-key", "private key in PEM: RSA, EC, DSA, PKCS 8, OpenSSH, PGP",
           r"----[- ]BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?[- ]----(?:-?[^-]){40,}",
           "-----BEGIN RSA PRIVATE KEY-----\n" + _R40 + "\n" + _R40 + "\n-----END",
           check="private_key", shown=0, bad="-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----"),
    _token("putty-key", "private key of PuTTY", r"\bPuTTY-User-Key-File-[23]: [a-z0-9-]{5,40}",
           "PuTTY-User-Key-File-3: ssh-rsa",
           check="", shown=0),
    _token("private-key-value", "private key as a value: JSON web key, RSAKeyValue, WireGuard",
           r"\bPrivateKey\s{0,3}=\s{0,3}[A-Za-z0-9+/]{43}=|<D>[A-Za-z0-9+/=\s]{100,}</D>"
           r"|\"d\"\s{0,3}:\s{0,3}\"[A-Za-z0-9_-]{40,}\"", '{"kty":"RSA","d":"' + _R40 + _R40 + '"}', level="",
           evidence="kty|rsakeyvalue|[interface]|[peer]", shown=0, window=2000, bad='"d": "' + _R40 + _R40 + '"'),
    _token("authorization", "what an Authorization field of HTTP sends",
           r"(?i)\bAuthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:Bearer|Basic|Token)\s{1,3}[A-Za-z0-9+/_=.~-]{20,}",
           "Authorization: Bearer " + _R40, level="medium", near="medium", shown=0,
           bad="Authorization: Bearer your_token_goes_here_1"),
    _token("service-token", "token of another service that begins as only those do: of hosts, stores, models, trackers",
           r"\b(?:gsk_[0-9A-Za-z]{52}|xai-[0-9A-Za-z]{60,}|pplx-[0-9A-Za-z]{40,60}|sk-or-v1-[0-9a-f]{64}"
           r"|r8_[0-9A-Za-z]{37}|lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}|atlasv1\.[0-9A-Za-z_=-]{60,70}"
           r"|HRKU-[0-9A-Za-z_-]{36,70}|lin_api_[0-9A-Za-z]{40}|ntn_[0-9A-Za-z]{40,50}|figd_[0-9A-Za-z_-]{40}"
           r"|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|pat[0-9A-Za-z]{14}\.[0-9a-f]{64}|sbp_[0-9a-f]{40}|sb_secret_[0-9A-Za-z_-]{31}"
           r"|pscale_(?:tkn|pw|oauth)_[0-9A-Za-z_.-]{32,64}|dp\.(?:pt|st|ct|sa|scim|audit)\.[0-9A-Za-z.]{40,60}"
           r"|fm[12][ar]?_[0-9A-Za-z+/=_-]{60,}|nfp_[0-9A-Za-z]{36}|sntrys_[0-9A-Za-z+/=_]{60,}|sntryu_[0-9a-f]{64}"
           r"|x(?:key|smtp)sib-[0-9a-f]{64}-[0-9A-Za-z]{16}|ATCTT3[0-9A-Za-z_=-]{60,}|ATBB[0-9A-Za-z]{32}\b"
           r"|AKCp[0-9A-Za-z]{69}|cmVmdGtuOj[0-9A-Za-z]{54}|sq[pua]_[0-9a-f]{40}|oy2[0-9a-z]{43}\b"
           r"|pat-(?:na|eu)[0-9]-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|sk\.eyJ1[0-9A-Za-z_-]{40,}\.[0-9A-Za-z_-]{22}"
           r"|tskey-[a-z]{3,8}-[0-9A-Za-z]{8,20}-[0-9A-Za-z]{28,40}|ops_eyJ[0-9A-Za-z_-]{60,}|ABSK[0-9A-Za-z+/]{100,}={0,2}"
           r"|ya29\.[0-9A-Za-z_-]{60,}|[MNO][0-9A-Za-z_-]{23,27}\.[0-9A-Za-z_-]{6}\.[0-9A-Za-z_-]{38}\b"
           r"|access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}|xoxd-[0-9A-Za-z%+/=_-]{60,}"
           r"|webhook\.office\.com/webhookb2/[0-9a-f-]{36}@[0-9a-f-]{36}/IncomingWebhook/[0-9a-f]{32}"
           r"|sv=20[0-9]{2}-[0-9]{2}-[0-9]{2}&[^\s\"'<>]{10,}&sig=[0-9A-Za-z%+/]{43,60})",
           "gsk_" + _R40 + _R40[:12], bad="gsk_" + "x" * 52),
    _token("url-password", "password in a URL", r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s:@/\"'<>]{1,}:[^\s@/\"'<>]{3,}@"
           r"[a-z0-9.-]{3,}", "postgres://app:" + "t0pS3cr3tPw@db.example.net/x", check="userinfo", shown=8,
           near="high",
           bad="https://user:password@example.com/"),
    _token("password", "what stands behind password=",
           r"(?i)(?:\b|_)(?:password|passwd|passwort|kennwort|pwd|mot de passe|senha"
           r"|contrasena|wachtwoord|haslo|api[_-]?key|secret[_-]?key|client[_-]?secret|auth[_-]?token)[\"']?\s{0,3}[:=]\s{0,3}"
           r"[\"']?[^\s\"',;<>]{6,}", "password = Tr0ub4dor&3", level="low", near="low", check="password", shown=0,
           bad="password: required"),
)  # fmt: skip
