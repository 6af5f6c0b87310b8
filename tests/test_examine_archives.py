"""smtpgate.examine.archives: what is inside archives, and the ways in which they lie and burst."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.archives import Archive
from smtpgate.examine.budget import MEMBERS, Budget, Member
from smtpgate.examine.facts import FLAGS
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.zipdir import read_directory
from tests.files_kit import PROGRAM, budget, cab, central, marked_encrypted, overlapping, packed, rar4, rar5

#: Made once by other programs: run.exe holds "MZ", note.txt "hello"; what is locked is locked with "secret1".
SAMPLES = {
    "a.7z": (
        "N3q8ryccAAT/lxOIcgAAAAAAAAAgAAAAAAAAAJ4jiiQBAAdoZWxsbwpNWgAAAIEzB64PzpwGxQkqrtOqhSYoExi7AyVn4P+Z3iLN"
        "BYW2ULfXweTY3H47PWU+8SiJX0Ko2yyiFI2QEdD+ub34omDk9N9rVxu4SmQvIDvSmztK8zaU51/m7Hn8BE/7voIdimAAAAAXBgwB"
        "CWYABwsBAAEjAwEBBV0AEAAADHYKAbpT+wIAAA=="
    ),
    "e.7z": (
        "N3q8ryccAARuCw3YEAAAAAAAAABqAAAAAAAAAA9gFLCm5th8u+MvO6Bbgrs4pF4PAQQGAAEJEAAHCwEAAiQG8QcBElMPPTveaI7h"
        "CFn9041yCLNbliEhAQABAAwGAgAICgFdm7CPAAAFARkBABERAHIAdQBuAC4AZQB4AGUAAAAZAgAAFAoBAARw5rMyfd0BFQYBACCA"
        "pIEAAA=="
    ),
    "eh.7z": (
        "N3q8ryccAARjQQrVgAAAAAAAAAAuAAAAAAAAAFkwYH7SltZfPBLosw/P4+CgEXeeErxd4tzuadiGEKzTpNWmPoJxauFWNozLqMWL"
        "pU9FkRqa6vI5l7Xbv3R4tvWkmwvPcKs/ngRRS59hD0zF2iWqYY+F9fcBtAcJIK/Lp46riIfwCTVa155pBgtLKzD0RFRoy8nTK3iK"
        "C3Lv/7v55DmFCRcGEAEJcAAHCwEAASQG8QcBElMP8Ev1BjymYJJ5UJtDxoI46wxqCgHMsQVzAAA="
    ),
    "aes.zip": (
        "UEsDBDMAAQBjAMu5eV0AAAAAIgAAAAYAAAAIAAsAbm90ZS50eHQBmQcAAgBBRQMAALsU2rG7XYKDSljZooDp0JBc79eDtncTwcQ8"
        "5vA9qKoRxk1QSwMEMwABAGMAy7l5XQAAAAAeAAAAAgAAAAcACwBydW4uZXhlAZkHAAIAQUUDAACZzy8G/NMutpE9aWZItaO4OwWq"
        "ZPhIbBKlMyPbes1QSwECPwMzAAEAYwDLuXldAAAAACIAAAAGAAAACAAvAAAAAAAAACCApIEAAAAAbm90ZS50eHQKACAAAAAAAAEA"
        "GAAEcOazMn3dAQAAAAAAAAAAAAAAAAAAAAABmQcAAgBBRQMAAFBLAQI/AzMAAQBjAMu5eV0AAAAAHgAAAAIAAAAHAC8AAAAAAAAA"
        "IICkgVMAAABydW4uZXhlCgAgAAAAAAABABgABHDmszJ93QEAAAAAAAAAAAAAAAAAAAAAAZkHAAIAQUUDAABQSwUGAAAAAAIAAgDJ"
        "AAAAoQAAAAAA"
    ),
    "zc.zip": (
        "UEsDBBQAAQAAAMu5eV1dm7CPDgAAAAIAAAAHAAAAcnVuLmV4ZbX9MK0whUdUC5nMNWl0UEsBAj8DFAABAAAAy7l5XV2bsI8OAAAA"
        "AgAAAAcAJAAAAAAAAAAggKSBAAAAAHJ1bi5leGUKACAAAAAAAAEAGAAEcOazMn3dAQAAAAAAAAAAAAAAAAAAAABQSwUGAAAAAAEA"
        "AQBZAAAAMwAAAAAA"
    ),
    "d64.zip": (
        "UEsDBBUAAAAJAMu5eV3FReBNFwAAAC4BAAAHAAAAcnVuLmV4ZeXBwQAAAAACMZWEEogk/BT63+YI79YBUEsBAj8DFQAAAAkAy7l5"
        "XcVF4E0XAAAALgEAAAcAJAAAAAAAAAAggKSBAAAAAHJ1bi5leGUKACAAAAAAAAEAGAB39f6zMn3dAQAAAAAAAAAAAAAAAAAAAABQ"
        "SwUGAAAAAAEAAQBZAAAAPAAAAAAA"
    ),
    "a.lzh": ("KQAtbGgwLQIAAAACAAAAzWsHayACtWsABQAACUoKAAFydW4uZXhlAABNWgA="),
    "run.exe.zst": ("KLUv/SQCEQAATVqfiqn3"),
    "lz.zip": (
        "UEsDBD8AAgAOAC+5eV0ptmcaGgAAAC4BAAAHAAAAcnVuLmV4ZRoCBQBdABAAAAAmlnwb+O31j1O///98RAAAUEsBAj8DPwACAA4A"
        "L7l5XSm2ZxoaAAAALgEAAAcAJAAAAAAAAAAggKSBAAAAAHJ1bi5leGUKACAAAAAAAAEAGACtC1MGMn3dAQAAAAAAAAAAAAAAAAAA"
        "AABQSwUGAAAAAAEAAQBZAAAAPwAAAAAA"
    ),
}


def sample(name: str) -> bytes:
    return base64.b64decode(SAMPLES[name])


def opened(
    content: bytes, names: Sequence[str] = (), words: Sequence[str] = (), limits: Budget | None = None
) -> tuple[list[Member], set[str]]:
    """Members and flags of an archive, its format told by its content."""
    archive = Archive(content, kind_of(content).detail, limits or budget(), names, words)
    return list(archive), archive.flags


def tarred(*members: tuple[str, bytes | str]) -> bytes:
    """A tar archive; a member whose content is text is a link to that."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


class FormatTests(SynchronousTestCase):
    """Each format that is opened."""

    def test_members_and_their_content(self) -> None:
        """Names and octets come out of all of them."""
        for content in (
            packed({"run.exe": PROGRAM}),
            packed({"run.exe": PROGRAM}, zipfile.ZIP_STORED),
            packed({"run.exe": PROGRAM}, zipfile.ZIP_BZIP2),
            packed({"run.exe": PROGRAM}, zipfile.ZIP_LZMA),
            rar4("run.exe", PROGRAM),
            rar5("run.exe", PROGRAM),
            cab("run.exe", PROGRAM),
            tarred(("run.exe", PROGRAM)),
        ):
            members, flags = opened(content)
            self.assertEqual(
                [(one.names, one.content, one.flags) for one in members], [(("run.exe",), PROGRAM, frozenset())]
            )
            self.assertEqual(flags, set())

    def test_samples_of_other_programs(self) -> None:
        """7z, LHA, and a ZIP member that only libarchive unpacks."""
        for name in ("a.7z", "a.lzh", "lz.zip"):
            members, flags = opened(sample(name))
            found = {one.names[0]: one.content for one in members}
            self.assertEqual((found["run.exe"] or b"")[:2], b"MZ", name)
            self.assertEqual(flags, set(), name)

    def test_single_packed_files(self) -> None:
        """The name of what is inside follows from that of the outside, and from the head of a gzip file."""
        for content, name, inner in (
            (gzip.compress(PROGRAM), "run.exe.gz", ("run.exe",)),
            (gzip.compress(PROGRAM), "files.tgz", ("files.tar",)),
            (bz2.compress(PROGRAM), "run.exe.bz2", ("run.exe",)),
            (lzma.compress(PROGRAM), "run.exe.xz", ("run.exe",)),
            (lzma.compress(PROGRAM, lzma.FORMAT_ALONE), "run.exe.lzma", ("run.exe",)),
            (gzip.compress(PROGRAM), "scan", ("scan",)),
            (gzip.compress(PROGRAM), "", ()),
            (
                b"\x1f\x8b\x08\x08" + bytes(6) + b"run.exe\0" + gzip.compress(PROGRAM)[10:],
                "a.pdf.gz",
                ("a.pdf", "run.exe"),
            ),
        ):
            members, flags = opened(content, [name] if name else [])
            self.assertEqual([(one.names, one.content) for one in members], [(inner, PROGRAM)], name)
            self.assertEqual(flags, set(), name)
        self.assertEqual(opened(sample("run.exe.zst"), ["run.exe.zst"])[0][0].content, b"MZ")

    def test_formats_that_are_not_looked_into(self) -> None:
        """They are told, and so are members packed in an unknown way."""
        self.assertEqual(opened(b"\x60\xea\x20\0\x1e" + bytes(60)), ([], {"unopened"}))
        members, flags = opened(sample("d64.zip"))
        self.assertEqual([(one.names, one.content, one.flags) for one in members], [(("run.exe",), None, {"unopened"})])
        self.assertEqual(flags, {"unopened"})

    def test_names_beyond_ascii(self) -> None:
        """In the encodings of ZIP and tar."""
        for content in (packed({"gr\u00fc\u00dfe.exe": b"x"}), tarred(("gr\u00fc\u00dfe.exe", b"x"))):
            self.assertEqual(opened(content)[0][0].names[0], "gr\u00fc\u00dfe.exe")


class LockTests(SynchronousTestCase):
    """Archives with passwords."""

    def test_a_locked_member_is_a_fact(self) -> None:
        """Regression B-96: names are readable, content of one is not."""
        content = marked_encrypted(packed({"plain.txt": b"hello", "locked.txt": b"0123456789"}, zipfile.ZIP_STORED), 1)
        members, flags = opened(content)
        self.assertEqual(flags, {"encrypted"})
        self.assertEqual(
            [(one.content, one.flags) for one in members], [(b"hello", frozenset()), (None, {"encrypted"})]
        )

    def test_every_format_tells_its_lock(self) -> None:
        """RAR 4 and 5, 7z, and 7z whose names are locked too."""
        for content, count in (
            (rar4("run.exe", PROGRAM, is_locked=True), 1),
            (rar5("run.exe", PROGRAM, is_locked=True), 1),
            (sample("e.7z"), 1),
            (sample("eh.7z"), 0),
            (sample("aes.zip"), 2),
            (sample("zc.zip"), 1),
        ):
            members, flags = opened(content)
            self.assertEqual((flags, len(members)), ({"encrypted"}, count))
            self.assertTrue(all(one.content is None for one in members))

    def test_a_word_of_the_message_opens_it(self) -> None:
        """Both ways in which ZIP files are locked; at most twenty words are tried."""
        for name in ("aes.zip", "zc.zip"):
            members, flags = opened(sample(name), words=["wrong", "", "secret1", "secret2"])
            found = {one.names[0]: one for one in members}
            self.assertEqual((found["run.exe"].content, found["run.exe"].flags), (b"MZ", {"password-in-text"}), name)
            self.assertEqual(flags, {"password-in-text"}, name)
            words = [f"wrong{number}" for number in range(20)] + ["secret1"]
            self.assertEqual(opened(sample(name), words=words)[1], {"encrypted"}, name)

    def test_tries_are_counted_over_the_message(self) -> None:
        """A message with many archives does not multiply them."""
        limits = budget(tries=3)
        for _ in range(3):
            opened(sample("zc.zip"), words=["wrong1", "wrong2"], limits=limits)
        self.assertEqual(opened(sample("zc.zip"), words=["secret1"], limits=limits)[1], {"encrypted"})


class LyingTests(SynchronousTestCase):
    """ZIP files whose two directories differ."""

    def renamed(self) -> bytes:
        archive = bytearray(packed({"report.doc": b"// nothing\n"}))
        at = central(bytes(archive))[0] + 46
        archive[at : at + 10] = b"report.wsf"
        return bytes(archive)

    def test_two_names_of_one_member(self) -> None:
        """Regression B-94: both are told."""
        members, flags = opened(self.renamed())
        self.assertEqual(
            [(one.names, one.flags) for one in members], [(("report.wsf", "report.doc"), {"names-differ"})]
        )
        self.assertEqual(flags, {"names-differ"})

    def test_members_that_no_directory_has(self) -> None:
        """They are found before, between and behind the others, and their content comes out."""
        first, second = packed({"run.exe": PROGRAM}), packed({"note.txt": b"hello"})
        for content in (first + second, first[: central(first)[0]] + second):
            members, flags = opened(content)
            found = {one.names[0]: (one.content, "hidden-member" in one.flags) for one in members}
            self.assertEqual(found, {"note.txt": (b"hello", False), "run.exe": (PROGRAM, True)})
            self.assertIn("hidden-member", flags)

    def test_a_stored_archive_inside_hides_nothing(self) -> None:
        """Its headers are content of a member."""
        inner = packed({"a": b"b"}, zipfile.ZIP_STORED)
        self.assertEqual(opened(packed({"in.zip": inner}, zipfile.ZIP_STORED))[1], set())
        behind_program = Archive(PROGRAM + inner, "zip", budget())
        self.assertEqual(([one.names for one in behind_program], behind_program.flags), ([("a",)], set()))

    def test_two_methods_of_one_member(self) -> None:
        """What programs would unpack differently is broken."""
        archive = bytearray(packed({"a.txt": b"hello"}))
        archive[8] = 0
        self.assertIn("broken", opened(bytes(archive))[1])

    def test_paths_that_lead_out(self) -> None:
        """Absolute ones, parents, drives, and links to such."""
        for content in (
            packed({"../run.exe": b"x"}),
            packed({"/etc/x": b"x"}),
            packed({"a\\..\\..\\x": b"x"}),
            packed({"C:/x": b"x"}),
            tarred(("a", "/etc/passwd")),
            tarred(("a/b", "../../x")),
        ):
            self.assertEqual(opened(content)[0][0].flags, {"path-escape"})
        for content in (packed({"a..b/c": b"x"}), tarred(("a", "b")), tarred(("p/bin/x", "../lib/x.txt"))):
            self.assertEqual(opened(content)[0][0].flags, frozenset())


class BrokenTests(SynchronousTestCase):
    """Archives that are cut off or damaged."""

    def test_a_directory_that_is_cut_off(self) -> None:
        """The members that stand before it come out all the same."""
        content = packed({"run.exe": PROGRAM, "note.txt": b"hello"})
        members, flags = opened(content[: central(content)[0]])
        self.assertEqual(
            [(one.names, one.content) for one in members], [(("run.exe",), PROGRAM), (("note.txt",), b"hello")]
        )
        self.assertEqual(flags, {"broken"})

    def test_every_format_cut_in_the_middle(self) -> None:
        """What came before the cut is there, and the fault is told."""
        for content in (
            packed({"a": PROGRAM * 9}, zipfile.ZIP_STORED),
            gzip.compress(bytes(range(256)) * 99),
            lzma.compress(bytes(range(256)) * 99),
            tarred(("a", PROGRAM * 30)),
            rar5("a", PROGRAM * 9),
            cab("a", PROGRAM * 9),
            sample("a.7z"),
        ):
            self.assertIn("broken", opened(content[: len(content) // 2])[1], content[:8])

    def test_a_name_without_an_archive(self) -> None:
        """Octets that only call themselves an archive."""
        for detail in ("zip", "7z", "rar", "tar", "gz", "xz", "cab", "iso", "lha", "cpio", "xar", "ar"):
            archive = Archive(b"no archive at all", detail, budget())
            self.assertEqual((list(archive), archive.flags), ([], {"broken"}), detail)


class BombTests(SynchronousTestCase):
    """Archives that burst."""

    def test_a_declared_bomb_is_not_unpacked(self) -> None:
        """Regression B-212: 100 MB in 100 kB; the budget is not touched."""
        limits = budget()
        members, flags = opened(packed({"zeros.bin": bytes(100_000_000)}), limits=limits)
        self.assertEqual([(one.content, one.octets, one.flags) for one in members], [(None, 100_000_000, {"bomb"})])
        self.assertEqual((flags, limits.octets, limits.limits), ({"bomb"}, budget().octets, ("ratio",)))

    def test_a_bomb_that_lies_about_its_size(self) -> None:
        """The real size stops it."""
        archive = bytearray(packed({"zeros.bin": bytes(40 << 20)}))
        at = central(bytes(archive))[0]
        struct.pack_into("<I", archive, at + 24, 100)
        limits = budget()
        self.assertIn("bomb", opened(bytes(archive), limits=limits)[1])
        self.assertGreater(limits.octets, 80 << 20)

    def test_other_formats_burst_too(self) -> None:
        """Nothing is declared there."""
        for content in (
            gzip.compress(bytes(40 << 20)),
            bz2.compress(bytes(40 << 20)),
            lzma.compress(bytes(40 << 20)),
            gzip.compress(gzip.compress(bytes(40 << 20))),
        ):
            limits = budget()
            members, flags = opened(content, limits=limits)
            if flags:
                self.assertEqual((members[0].content, flags), (None, {"bomb"}))
                self.assertGreater(limits.octets, 80 << 20)
            else:
                self.assertLess(len(members[0].content or b""), 1 << 20)

    def test_a_small_file_of_blanks_is_none(self) -> None:
        """Regression B-214: a high ratio of few octets says nothing."""
        for length in (20_000, 8 << 20):
            members, flags = opened(packed({"form.txt": b" " * length}))
            self.assertEqual((len(members[0].content or b""), flags), (length, set()))

    def test_members_over_one_another(self) -> None:
        """One content named five hundred times."""
        members, flags = opened(overlapping(packed({"a": bytes(1000)}), 500))
        self.assertEqual((flags, {one.content for one in members}), ({"bomb"}, {None}))

    def test_octets_are_counted_over_all_archives(self) -> None:
        """A tenth archive finds nothing left; that is no bomb."""
        limits = budget(octets=100_000)
        found = [opened(packed({"a": bytes(range(256)) * 100}), limits=limits)[1] for _ in range(5)]
        self.assertEqual(found, [set(), set(), set(), {"too-big"}, {"too-big"}])
        self.assertEqual(limits.limits, ("octets",))

    def test_ten_thousand_members(self) -> None:
        """The first thousand come out."""
        many = {f"{number}.txt": b"" for number in range(10_000)}
        for content in (packed(many), tarred(*many.items())):
            members, flags = opened(content)
            self.assertEqual((len(members), flags), (MEMBERS, {"too-many"}))

    def test_no_time_left(self) -> None:
        """Nothing more is unpacked once the clock has passed the end."""
        members, flags = opened(tarred(("a", b"x")), limits=budget(seconds=-1.0))
        self.assertEqual((members, flags), ([], {"not-examined"}))
        members, flags = opened(packed({"a": b"x"}), limits=budget(seconds=-1.0))
        self.assertEqual((members[0].content, flags), (None, {"not-examined"}))


GOOD = [
    packed({"a.txt": b"hello" * 20, "b/c.exe": PROGRAM}),
    rar4("run.exe", PROGRAM),
    rar5("run.exe", PROGRAM, is_locked=True),
    cab("run.exe", PROGRAM),
    tarred(("run.exe", PROGRAM)),
    gzip.compress(b"hello" * 20),
    lzma.compress(b"hello" * 20),
    *(sample(name) for name in SAMPLES),
]


class AnyArchiveTests(SynchronousTestCase):
    """Whatever is called an archive."""

    @settings(max_examples=250, deadline=None)
    @given(
        st.sampled_from(GOOD),
        st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6)), max_size=4),
        st.integers(0, 4000),
        st.sampled_from(["", "zip", "7z", "rar", "tar", "cab", "iso", "lha", "gz", "xz", "cpio", "xar"]),
    )
    def test_nothing_raises(self, good: bytes, changes: list[tuple[int, bytes]], cut: int, detail: str) -> None:
        """Octets changed, cut off, or read as another format: members and flags come out, within the budget."""
        content = bytearray(good)
        for at, piece in changes:
            content[at % len(content) : at % len(content) + len(piece)] = piece
        octets = bytes(content[: cut or None])
        archive = Archive(octets, detail or kind_of(octets).detail, budget(octets=1 << 20), ["a"], ["x", "secret1"])
        members = list(archive)
        self.assertTrue(archive.flags <= FLAGS.keys())
        self.assertTrue(all(one.flags <= FLAGS.keys() for one in members))
        self.assertLessEqual(sum(len(one.content or b"") for one in members), 1 << 20)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from([b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"\xff\xff\xff\xff", bytes(9), b"a/"]),
            max_size=60,
        )
    )
    def test_pieces_of_zip_files(self, pieces: list[bytes]) -> None:
        """Records without sense never raise, and never give more members than asked for."""
        found = read_directory(b"".join(pieces), 5)
        if found is not None:
            self.assertLessEqual(len(found.entries) + len(found.hidden), 10)
