"""The cases of a public validation suite for ARC, by their names there, each as a message of our own.

The suite is ValiMail/arc_test_suite, from before RFC 8617; of it the table has names, what changes, and the states.

A row has the name of the case, the message that it begins with, the steps of `arc_made` that make the case, and what
the suite asks for: none, pass, or fail with a piece of the reason that is to be told. Most fields with a wrong form
bear signatures that are right for them, so that nothing else can make the chain fail. Four names come twice, as they
do in the suite, with one message each.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from tests.arc_made import (
    PARTS,
    PLAIN,
    RESULTS,
    SEAL,
    SIGNATURE,
    Step,
    arc,
    blanks,
    cut,
    drop,
    new,
    other,
    short_key,
    twice,
    value,
)
from tests.signing_kit import rsa_key

HEADER: Final = PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n"
BODY: Final = PLAIN.partition(b"\r\n\r\n")[2]
HASH: Final = base64.b64encode(hashlib.sha256(BODY).digest()).decode("ascii")
#: Without the field that h= names all the same.
BARE: Final = PLAIN.removeprefix(b"MIME-Version: 1.0\r\n")
TWO: Final = PLAIN.replace(b"To: team@example.org\r\n", b"To: first@example.org\r\nTo: second@example.org\r\n")

MISSING = "fail: a field is missing, or there twice"
NUMBERS = "fail: not numbered as they should be"
NO_LIST = "fail: it is no list of tags"
HEAD = "fail: signature 1: the header was changed"
TEXT = "fail: signature 1: the body was changed"
SEALED = "fail: seal 1: what it is over was changed"
CHAIN = "fail: seal 1 says nothing that fits"
FAILED = "says that the chain failed before"
H = "from:to:date:subject:mime-version:arc-authentication-results"


def ams(old: str, text: str) -> Step:
    """A first set whose signature says something else."""
    return arc(signature=[(old, text)])


def seal(old: str, text: str) -> Step:
    """A first set whose seal says something else."""
    return arc(seal=[(old, text)])


def aar(old: str, text: str) -> Step:
    """A first set whose results say something else."""
    return arc(results=[(old, text)])


def selector(name: str, bits: int) -> Step:
    """A first set with a key of so many bits."""
    key = short_key() if bits < 1024 else rsa_key(bits)
    return arc(signature=[("s=s", f"s={name}")], seal=[("s=s", f"s={name}")], key=key)


def numbered(text: str) -> Step:
    """A first set with another instance in all its fields."""
    edits = [("i=1", f"i={text}")]
    return arc(results=edits, signature=edits, seal=edits)


CASES: Final[list[tuple[str, bytes, list[Step], str]]] = [
    # Whether there is a chain, and each of its parts.
    ("cv_empty", b"\r\n", [], "none"),
    ("cv_no_headers", b"\r\n" + BODY, [], "none"),
    ("cv_no_body", HEADER, [], "none"),
    ("cv_base1", PLAIN, [], "none"),
    ("cv_base2", PARTS, [], "none"),
    ("cv_pass_i1_1", PLAIN, [arc()], "pass"),
    ("cv_pass_i1_2", PARTS, [arc()], "pass"),
    ("cv_pass_i2_1", PLAIN, [arc(), arc(2)], "pass"),
    ("cv_pass_i2_2", PARTS, [arc(), arc(2)], "pass"),
    ("cv_pass_i2_1_ams1_invalid", PLAIN, [arc(), new("Alice A.", "Eve A."), arc(2)], "pass"),
    ("cv_pass_i3_1", PLAIN, [arc(), arc(2), arc(3)], "pass"),
    ("cv_pass_i4_1", PLAIN, [arc(), arc(2), arc(3), arc(4)], "pass"),
    ("cv_pass_i5_1", PLAIN, [arc(), arc(2), arc(3), arc(4), arc(5)], "pass"),
    ("cv_fail_i1_ams_na", PLAIN, [arc(), drop(SIGNATURE)], MISSING),
    ("cv_fail_i1_ams_invalid", PLAIN, [arc(), new("are done", "are not done")], TEXT),
    ("cv_fail_i1_as_na", PLAIN, [arc(), drop(SEAL)], MISSING),
    ("cv_fail_i1_as_pass", PLAIN, [seal("cv=none", "cv=pass")], CHAIN),
    ("cv_fail_i1_as_cv_fail", PLAIN, [seal("cv=none", "cv=fail")], f"fail: seal 1 {FAILED}"),
    ("cv_fail_i1_as_invalid", PLAIN, [arc(), value(SEAL, cut)], "fail: seal 1: b= is no base64"),
    ("cv_fail_i2_ams_na", PLAIN, [arc(), arc(2), drop(SIGNATURE)], MISSING),
    (
        "cv_fail_i2_ams_invalid",
        PLAIN,
        [arc(), arc(2, signature=[("bh={bh}", "bh=invalid")])],
        "fail: signature 2: bh= is no base64",
    ),
    ("cv_fail_i2_as2_na", PLAIN, [arc(), arc(2), drop(SEAL)], MISSING),
    ("cv_fail_i2_as2_invalid", PLAIN, [arc(), arc(2), value(SEAL, other)], "fail: seal 2: what it is over"),
    ("cv_fail_i2_as2_none", PLAIN, [arc(), arc(2, seal=[("cv=pass", "cv=none")])], "fail: seal 2 says nothing"),
    ("cv_fail_i2_as2_fail", PLAIN, [arc(), arc(2, seal=[("cv=pass", "cv=fail")])], f"fail: seal 2 {FAILED}"),
    ("cv_fail_i2_as1_na", PLAIN, [arc(), drop(SEAL), arc(2)], MISSING),
    ("cv_fail_i2_as1_invalid", PLAIN, [arc(), value(SEAL, cut), arc(2)], "fail: seal 1: b= is no base64"),
    ("cv_fail_i2_as1_pass", PLAIN, [seal("cv=none", "cv=pass"), arc(2)], CHAIN),
    ("cv_fail_i2_as1_fail", PLAIN, [seal("cv=none", "cv=fail"), arc(2)], f"fail: seal 1 {FAILED}"),
    # The form of a signature.
    ("ams_format_sc_wsp", PLAIN, [ams("{bh};", "{bh} ;")], "pass"),
    ("ams_format_eq_wsp", PLAIN, [ams("c=", "c = ")], "pass"),
    ("ams_format_tags_trail_sc", PLAIN, [ams("0000\r\n", "0000;\r\n")], "pass"),
    ("ams_format_tags_unknown", PLAIN, [ams("0000\r\n", "0000; w=what\r\n")], "pass"),
    ("ams_format_inv_tag_key", PLAIN, [ams("s=s;", "s=s; ==;")], NO_LIST),
    ("ams_format_tags_dup", PLAIN, [ams("s=s;", "s=s; s=s;")], NO_LIST),
    ("ams_format_tags_key_case", PLAIN, [ams("\th=", "\tH=")], "fail: signature 1: h= is missing"),
    ("ams_format_tags_val_case", PLAIN, [arc(), new("h=from", "h=From")], HEAD),
    ("ams_format_tags_wsp", PLAIN, [ams("t=1", "t=1 ")], "fail: signature 1: t= is no number"),
    ("ams_format_tags_sc", PLAIN, [ams("s=s;", "s=s;;")], NO_LIST),
    # The tags of a signature.
    ("ams_fields_i_dup1", PLAIN, [arc(), twice(SIGNATURE)], MISSING),
    ("ams_fields_i_dup2", PLAIN, [arc(), twice(SIGNATURE, edits=[("bh=", "bh=A")])], MISSING),
    ("ams_fields_a_sha1", PLAIN, [ams("rsa-sha256", "rsa-sha1")], "pass"),
    ("ams_fields_a_na", PLAIN, [ams("a=rsa-sha256; ", "")], "fail: signature 1: a= is missing"),
    ("ams_fields_a_empty", PLAIN, [ams("rsa-sha256", "")], "fail: signature 1: a= is no known"),
    ("ams_fields_a_unknown", PLAIN, [ams("rsa-sha256", "rsa-cake")], "fail: signature 1: a= is no known"),
    ("ams_fields_b_ignores_wsp", PLAIN, [arc(change=blanks)], "pass"),
    ("ams_fields_b_head_case", PLAIN, [arc(), new("\r\nFrom:", "\r\nFROM:")], "pass"),
    ("ams_fields_b_head_unfold", PLAIN, [arc(), new("Alice A. <", "Alice A.\r\n <")], "pass"),
    ("ams_fields_b_eol_wsp", PLAIN, [arc(), new("e.net>\r\nTo:", "e.net> \t \r\nTo:")], "pass"),
    ("ams_fields_b_inl_wsp", PLAIN, [arc(), new("Alice A. <", "Alice  A.\t  <")], "pass"),
    (
        "ams_fields_b_col_wsp",
        PLAIN,
        [arc(), new("From: ", "From:   "), new("To: ", "To:\t"), new("Date:", "Date:  ")],
        "pass",
    ),
    ("ams_fields_b_na", PLAIN, [ams(" b={b};", "")], "fail: signature 1: b= is missing"),
    ("ams_fields_b_empty", PLAIN, [ams("b={b}", "b=")], "fail: signature 1: b= is no base64"),
    ("ams_fields_b_base64", PLAIN, [ams("b={b}", "b=no_base_64")], "fail: signature 1: b= is no base64"),
    ("ams_fields_b_mod_sig", PLAIN, [arc(change=other)], HEAD),
    ("ams_fields_b_mod_headers1", PLAIN, [arc(), new("Alice A.", "A.")], HEAD),
    ("ams_fields_b_mod_headers2", PLAIN, [arc(), new("minutes\r\n", "minutes (new)\r\n")], HEAD),
    ("ams_fields_bh_ignores_wsp", PLAIN, [ams("{bh}", f"{HASH[:1]} {HASH[1:]}")], "pass"),
    ("ams_fields_bh_sim_base", PLAIN, [ams("relaxed/relaxed", "relaxed/simple")], "pass"),
    (
        "ams_fields_bh_sim_end_lines",
        PLAIN,
        [ams("relaxed/relaxed", "relaxed/simple"), lambda m: m + b"\r\n\r\n"],
        "pass",
    ),
    (
        "ams_fields_bh_sim_inl_wsp",
        PLAIN,
        [ams("relaxed/relaxed", "relaxed/simple"), new("are done", "are  done")],
        TEXT,
    ),
    (
        "ams_fields_bh_rel_eol_wsp",
        PLAIN,
        [arc(), new("team,\r\n", "team, \t\r\n"), new("done.\r\n", "done.  \r\n")],
        "pass",
    ),
    ("ams_fields_bh_rel_inl_wsp", PLAIN, [arc(), new("Dear team", "Dear \t  team")], "pass"),
    ("ams_fields_bh_rel_end_lines", PLAIN, [arc(), lambda m: m + b"\r\n\r\n"], "pass"),
    ("ams_fields_bh_rel_trail_crlf", PLAIN, [arc(), lambda m: m.removesuffix(b"\r\n")], "pass"),
    ("ams_fields_bh_na", PLAIN, [ams("bh={bh};", "")], "fail: signature 1: bh= is missing"),
    ("ams_fields_bh_empty", PLAIN, [ams("bh={bh}", "bh=")], "fail: signature 1: bh= is no base64"),
    ("ams_fields_bh_base64", PLAIN, [ams("bh={bh}", "bh=no_base_64")], "fail: signature 1: bh= is no base64"),
    ("ams_fields_bh_mod_sig", PLAIN, [ams("bh={bh}", "bh=b3RoZXI=")], TEXT),
    ("ams_fields_bh_mod_body", PLAIN, [arc(), new("minutes are", "new minutes are")], TEXT),
    ("ams_fields_c_na", PLAIN, [ams(" c=relaxed/relaxed;", "")], HEAD),
    ("ams_fields_c_empty", PLAIN, [ams("relaxed/relaxed", "")], "fail: signature 1: c= is no known form"),
    ("ams_fields_c_ss", PLAIN, [ams("relaxed/relaxed", "simple/simple")], HEAD),
    ("ams_fields_c_sr", PLAIN, [ams("relaxed/relaxed", "simple/relaxed")], HEAD),
    ("ams_fields_c_invalid", PLAIN, [ams("relaxed/relaxed", "round/square")], "fail: signature 1: c= is no known form"),
    ("ams_fields_d_na", PLAIN, [ams(" d=example.org;", "")], "fail: signature 1: d= is missing"),
    ("ams_fields_d_empty", PLAIN, [ams("d=example.org", "d=")], "fail: signature 1: d= is no name"),
    ("ams_fields_d_invalid", PLAIN, [ams("d=example.org", "d=example...")], "fail: signature 1: d= is no name"),
    ("ams_fields_h_empty", PLAIN, [ams(f"h={H}", "h=")], "pass"),
    ("ams_fields_h_cws1", PLAIN, [ams(H, H.replace(":", " : "))], "pass"),
    ("ams_fields_h_cws2", PLAIN, [ams(H, H.replace(":", " :\r\n\t "))], "pass"),
    ("ams_fields_h_case", PLAIN, [ams(H, H.title())], "pass"),
    ("ams_fields_h_dup1", TWO, [ams(":to", ":to:to")], "pass"),
    ("ams_fields_h_non_existant", BARE, [arc()], "pass"),
    ("ams_fields_h_mis_hdr", PLAIN, [ams(":to", ":to:")], "pass"),
    ("ams_fields_h_non_existant_dup", BARE, [ams("-results;", "-results:mime-version;")], "pass"),
    ("ams_fields_h_includes_ams", PLAIN, [arc(), arc(2, signature=[(":to", ":to:arc-message-signature")])], "pass"),
    ("ams_fields_h_na", PLAIN, [ams(f"h={H};", "")], "fail: signature 1: h= is missing"),
    (
        "ams_fields_h_dup2",
        TWO,
        [ams(":to", ":to:to"), new("To: first@", "To: last@"), new("To: second@", "To: first@")],
        HEAD,
    ),
    ("ams_fields_h_order", PLAIN, [arc(order=":".join(reversed(H.split(":"))))], HEAD),
    ("ams_fields_h_empty_added", BARE, [arc(), lambda m: b"MIME-Version: 1.0\r\n" + m], HEAD),
    (
        "ams_fields_h_includes_as",
        PLAIN,
        [arc(), arc(2, signature=[(":to", ":to:arc-seal")])],
        "fail: signature 2 is over seals",
    ),
    ("ams_fields_s_na", PLAIN, [ams(" s=s;", "")], "fail: signature 1: s= is missing"),
    ("ams_fields_s_empty", PLAIN, [ams("s=s", "s=")], "fail: signature 1: s= is no name"),
    ("ams_fields_t_na", PLAIN, [ams("; t=1767780000", "")], "pass"),
    ("ams_fields_t_empty", PLAIN, [ams("t=1767780000", "t=")], "fail: signature 1: t= is no number"),
    ("ams_fields_t_invalid", PLAIN, [ams("t=1767780000", "t=noon")], "fail: signature 1: t= is no number"),
    # The form of a seal.
    ("as_format_sc_wsp", PARTS, [seal("i=1;", "i=1 ;")], "pass"),
    ("as_format_eq_wsp", PARTS, [seal("i=1", "i = 1")], "pass"),
    ("as_format_tags_trail_sc", PARTS, [seal("0000\r\n", "0000;\r\n")], "pass"),
    ("as_format_tags_unknown", PARTS, [seal("0000\r\n", "0000; w=what\r\n")], "pass"),
    ("as_format_inv_tag_key", PARTS, [seal("s=s;", "s=s; _=;")], NO_LIST),
    ("as_format_tags_dup", PARTS, [seal("s=s;", "s=s; s=s;")], NO_LIST),
    ("as_format_tags_key_case", PARTS, [seal("s=s", "S=s")], "fail: s= is missing"),
    (
        "as_format_tags_val_case",
        PARTS,
        [arc(), new("d=example.org; i=1; s=s; t", "d=Example.org; i=1; s=s; t")],
        SEALED,
    ),
    ("as_format_tags_wsp", PARTS, [seal("t=17", "t=17 ")], "fail: t= is no number"),
    ("as_format_tags_sc", PARTS, [seal("s=s;", "s=s;;")], NO_LIST),
    # The tags of a seal.
    ("as_fields_i_dup", PARTS, [arc(), twice(SEAL)], MISSING),
    ("as_fields_i_dup2", PLAIN, [arc(), arc(2), twice(SEAL)], MISSING),
    ("as_fields_i_missing", PARTS, [seal(" i=1;", "")], NUMBERS),
    ("as_fields_i_malformed1", PARTS, [numbered("0")], NUMBERS),
    ("as_fields_i_malformed2", PARTS, [numbered("a")], NUMBERS),
    ("as_fields_a_sha1", PARTS, [seal("rsa-sha256", "rsa-sha1")], "pass"),
    ("as_fields_a_na", PARTS, [seal("a=rsa-sha256; ", "")], "fail: a= is missing"),
    ("as_fields_a_empty", PARTS, [seal("rsa-sha256", "")], "fail: seal 1: a= is no known"),
    ("as_fields_a_unknown", PARTS, [seal("rsa-sha256", "rsa-sha7")], "fail: seal 1: a= is no known"),
    ("as_fields_b_ignores_wsp", PARTS, [arc(), value(SEAL, blanks)], "pass"),
    *(
        (f"as_fields_b_{name}", base, [arc(), step], "pass")
        for base in (PARTS, PLAIN)
        for name, step in (
            ("head_case", new("ARC-Seal:", "ARC-SEAL:")),
            ("head_unfold", value(SEAL, lambda octets: octets.replace("\r\n", ""))),
            ("eol_wsp", value(SEAL, lambda octets: octets.replace("\r\n", "  \t\r\n", 1))),
            ("inl_wsp", new("\tcv=none", "\t   cv=none")),
        )
    ),
    ("as_fields_b_col_wsp", PARTS, [arc(), new("ARC-Seal: ", "ARC-Seal:\t  ")], "pass"),
    ("as_fields_b_512", PARTS, [selector("r512", 512)], "pass"),
    ("as_fields_b_1024", PARTS, [selector("r1024", 1024)], "pass"),
    ("as_fields_b_2048", PARTS, [selector("r2048", 2048)], "pass"),
    ("as_fields_b_na", PARTS, [seal(" b={b};", "")], "fail: b= is missing"),
    ("as_fields_b_empty", PARTS, [seal("b={b}", "b=")], "fail: seal 1: b= is no base64"),
    ("as_fields_b_base64", PARTS, [seal("b={b}", "b=no-base")], "fail: seal 1: b= is no base64"),
    ("as_fields_b_mod_sig", PARTS, [arc(), value(SEAL, cut)], "fail: seal 1: b= is no base64"),
    ("as_fields_b_aar1", PARTS, [arc(), new(f"{RESULTS}: i=1", f"{RESULTS}: i=one")], NUMBERS),
    ("as_fields_b_ams1", PARTS, [arc(after=[(":to", "")])], SEALED),
    ("as_fields_b_asb1", PARTS, [arc(), new("i=1; s=s", "i=1; s=twin")], SEALED),
    ("as_fields_cv_na", PARTS, [seal("cv=none;", "")], CHAIN),
    ("as_fields_cv_empty", PARTS, [seal("cv=none", "cv=")], CHAIN),
    ("as_fields_cv_invalid", PARTS, [seal("cv=none", "cv=?!")], CHAIN),
    ("as_fields_d_na", PARTS, [seal(" d=example.org;", "")], "fail: d= is missing"),
    ("as_fields_d_empty", PARTS, [seal("d=example.org", "d=")], "fail: d= is no name"),
    ("as_fields_d_invalid", PARTS, [seal("d=example.org", "d=???")], "fail: d= is no name"),
    ("as_fields_s_na", PARTS, [seal(" s=s;", "")], "fail: s= is missing"),
    ("as_fields_s_empty", PARTS, [seal("s=s", "s=")], "fail: s= is no name"),
    ("as_fields_t_na", PARTS, [seal("; t=1767780000", "")], "fail"),
    ("as_fields_t_empty", PARTS, [seal("t=1767780000", "t=")], "fail: t= is no number"),
    ("as_fields_t_invalid", PARTS, [seal("t=1767780000", "t=-17.5")], "fail: t= is no number"),
    # Results.
    ("aar_missing", PARTS, [arc(), drop(RESULTS)], MISSING),
    ("aar_i_missing", PARTS, [aar(" i=1;", "")], NUMBERS),
    ("aar_i_wrong", PARTS, [aar("i=1", "i=2")], NUMBERS),
    ("aar_i_not_prefixed", PARTS, [aar("i=1; mx.example.org;", "mx.example.org; i=1;")], NUMBERS),
    ("aar_i_no_semi", PARTS, [aar("i=1;", "i=1")], NUMBERS),
    ("aar2_missing", PARTS, [arc(), arc(2), drop(RESULTS)], MISSING),
    # Keys, and whole sets.
    ("public_key_na", PLAIN, [seal("s=s", "s=gone")], "fail: seal 1: there is no key gone._domainkey"),
    ("public_key_invalid", PLAIN, [seal("s=s", "s=broken")], "fail: seal 1: there is no key in the record"),
    ("arc_set_duplicate", PLAIN, [arc(), twice(SEAL, SIGNATURE, RESULTS)], "pass"),
]
#: Cases for which the gateway says something else than the suite asks for: what it says, and why.
DIFFERENT: Final[dict[str, tuple[str, str]]] = {
    "ams_fields_a_sha1": ("fail: signature 1: rsa-sha1", "RFC 8301 section 3.1: rsa-sha1 must not be taken"),
    "as_fields_a_sha1": ("fail: seal 1: rsa-sha1", "RFC 8301 section 3.1: rsa-sha1 must not be taken"),
    "as_fields_b_512": ("fail: signature 1: the key has 512 bits", "RFC 8301 section 3.2: 1024 bits at least"),
    "ams_fields_h_empty": ("fail: signature 1: From is not signed", "RFC 6376 sections 3.5 and 5.4: From is in h="),
    "as_fields_t_na": ("pass", "RFC 8617 section 4.1.3 has the t= of RFC 6376 section 3.5, which may be left out"),
    "arc_set_duplicate": (NUMBERS, "RFC 8617 section 5.2 step 3: one of each field, and no number twice"),
}
