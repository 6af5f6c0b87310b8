"""What the label and the name of a file promise: media types and endings as kinds of `facts.KINDS`.

`kinds` holds both against what the octets say. A label or an ending that promises nothing (application/octet-stream,
none at all) gives "". What runs by its ending alone, whatever stands in the file, is told apart in `RUN_BY_NAME`.

RFC 6838 section 4.2; RFC 2046 section 4.5.1 (octet-stream promises nothing).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from smtpgate.examine.names import ENDINGS

_TYPES: Final = {
    "pdf": "application/pdf application/x-pdf",
    "html": "text/html application/xhtml+xml",
    "svg": "image/svg+xml",
    "xml": "text/xml application/xml application/rss+xml application/atom+xml",
    "text": "text/plain text/csv text/markdown application/json text/tab-separated-values application/csv text/css",
    "calendar": "text/calendar application/ics",
    "contact": "text/vcard text/x-vcard text/directory",
    "message": "message/rfc822 message/global application/vnd.ms-outlook message/partial message/delivery-status"
    " application/vnd.ms-outlook-pst",
    "tnef": "application/ms-tnef application/vnd.ms-tnef",
    "office-legacy": "application/msword application/vnd.ms-excel application/vnd.ms-powerpoint"
    " application/rtf text/rtf application/x-msaccess application/vnd.visio"
    " application/x-mspublisher application/cdfv2 application/x-ole-storage"
    " application/vnd.ms-works application/vnd.ms-office application/encrypted",
    "office": "application/epub+zip application/vnd.ms-xpsdocument",
    "onenote": "application/onenote application/msonenote",
    "archive": "application/zip application/x-zip-compressed application/x-rar application/x-rar-compressed"
    " application/vnd.rar application/x-7z-compressed application/gzip application/x-gzip application/x-tar"
    " application/x-bzip2 application/x-xz application/zstd application/vnd.ms-cab-compressed application/x-arj"
    " application/x-lzh-compressed application/x-lha application/x-cpio application/x-lzma application/x-compress"
    " application/x-archive application/x-bzip application/x-compressed",
    "disk-image": "application/x-iso9660-image application/x-apple-diskimage application/x-raw-disk-image"
    " application/vnd.efi.iso",
    "executable": "application/x-msdownload application/x-msdos-program application/vnd.microsoft.portable-executable"
    " application/x-executable application/x-sharedlib application/x-mach-binary application/java-archive"
    " application/x-java-applet application/vnd.android.package-archive application/x-msi application/x-ms-installer"
    " application/x-shockwave-flash application/x-pie-executable application/vnd.debian.binary-package"
    " application/x-debian-package application/x-rpm application/x-object",
    "script": "application/javascript text/javascript application/x-javascript text/vbscript"
    " application/x-sh text/x-shellscript text/x-python text/x-perl text/x-php application/hta"
    " application/x-powershell text/x-msdos-batch application/x-bat text/x-script.python"
    " text/x-ruby text/x-lua application/x-python-code application/x-bytecode.python",
    "shortcut": "application/x-ms-shortcut application/internet-shortcut application/x-desktop text/x-uri"
    " application/x-mswinurl",
    "help": "application/vnd.ms-htmlhelp application/winhlp",
    "certificate": "application/pkcs7-signature application/x-pkcs7-signature application/pkcs7-mime"
    " application/pgp-keys application/x-pkcs7-mime application/pgp-signature"
    " application/pgp-encrypted application/x-x509-ca-cert application/pkix-cert"
    " application/x-pkcs12 application/pem-certificate-chain",
    "image": "application/postscript",
    "font": "application/vnd.ms-fontobject application/font-sfnt application/vnd.ms-opentype",
    "video": "application/mp4",
    "audio": "application/ogg",
}
_BY_TYPE: Final = MappingProxyType({label: kind for kind, listed in _TYPES.items() for label in listed.split()})
#: Beginnings of labels of whole families.
_FAMILIES: Final = (
    ("image/", "image"),
    ("audio/", "audio"),
    ("video/", "video"),
    ("font/", "font"),
    ("application/vnd.openxmlformats-officedocument.", "office"),
    ("application/vnd.oasis.opendocument.", "office"),
    ("application/vnd.ms-word.", "office"),
    ("application/vnd.ms-excel.", "office"),
    ("application/vnd.ms-powerpoint.", "office"),
    ("application/font-", "font"),
)
_CLASS_KINDS: Final = {
    "program": "executable",
    "installer": "executable",
    "script": "script",
    "settings": "script",
    "shortcut": "shortcut",
    "help": "help",
    "disk-image": "disk-image",
    "page": "html",
    "archive": "archive",
    "certificate": "certificate",
    "mail": "message",
    "macro": "office",
    "clsid": "script",
}
_ENDINGS: Final = {
    "pdf": "pdf",
    "office": "docx xlsx pptx ppsx dotx xltx potx odt ods odp odg ott ots otp epub xps oxps pages numbers vsdx fodt",
    "office-legacy": "doc xls ppt pps dot xlt pot rtf mdb accdb mdt mdw mdz adp mdn vsd pub wps slk sylk xla hwp",
    "onenote": "one onepkg onetoc2",
    "html": "xht",
    "svg": "svg svgz",
    "xml": "xml xsd rss xsl xslt",
    "text": "txt csv tsv log md json ini cfg conf yaml yml css text asc nfo diz sql tex rst adoc asciidoc diff patch"
    " ipynb org toml bib po out",
    "calendar": "ics ical ifb",
    "contact": "vcf vcard",
    "message": "mht mhtm mhtml",
    "tnef": "tnef",
    "image": "png jpg jpeg jpe jfif gif bmp tif tiff webp heic heif avif ico psd wmf emf ps eps ani",
    "audio": "mp3 m4a wav ogg oga flac mid midi amr aac wma opus aiff",
    "video": "mp4 m4v avi mov mkv mpg mpeg wmv webm flv 3gp",
    "font": "ttf otf woff woff2 ttc eot",
}
_BY_ENDING: Final = MappingProxyType({ending: kind for kind, listed in _ENDINGS.items() for ending in listed.split()})
#: Endings whose programs read any octets as their language, and skip what they do not understand.
RUN_BY_NAME: Final = frozenset(
    ["bat", "cmd", "hta", "js", "jse", "vbs", "vbe", "wsf", "wsh", "sct", "ps1", "htm", "html", "shtml", "xhtml", "url"]
)
#: Endings of texts that open in an editor, or in a program that shows them as text.
PROSE: Final = frozenset(_ENDINGS["text"].split()) | {"eml", "ics", "vcf"}


#: Languages that one detail names for several endings, and for the first line of a file without one.
_LANGUAGES: Final = {
    "python": "py pyw py3",
    "perl": "pl plx plg",
    "shell": "sh bash csh ksh zsh fish tcsh",
    "ruby": "rb",
    "php": "php php3 php4 php5 phtml",
}
_LANGUAGE: Final = MappingProxyType({ending: name for name, listed in _LANGUAGES.items() for ending in listed.split()})


def detail_of_ending(ending: str) -> str:
    """The word for what an ending promises: the ending itself, or its language."""
    return _LANGUAGE.get(ending, ending)


def kind_of_type(label: str) -> str:
    """The kind that a media type promises; "" where it promises nothing."""
    label = label.partition(";")[0].strip().lower()
    known = _BY_TYPE.get(label)
    if known:
        return known
    return next((kind for begin, kind in _FAMILIES if label.startswith(begin)), "")


def kind_of_ending(ending: str) -> str:
    """The kind that an ending (lower case, without dot) promises; "" where it promises nothing."""
    known = _BY_ENDING.get(ending)
    if known:
        return known
    return _CLASS_KINDS.get("clsid" if ending.startswith("{") else ENDINGS.get(ending, ""), "")
