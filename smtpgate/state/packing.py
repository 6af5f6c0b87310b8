"""One session's record as a few octets.

A record is written as JSON: the lists of `policy.record.compact`, some 700 octets for a session of one message. Only
a long one is compressed, one pass for all its messages: for short ones that cost more than all else that is kept of
them, and every pass takes the interpreter's lock from the session that is at work and gives it back.

Earlier versions wrote records with names, compressed against a sample of them, and before that without one. They are
read as they were.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

from pydantic_core import PydanticSerializationError, from_json, to_json

#: First octet of each form. Records of plain zlib begin with 0x78.
_SAMPLED: Final = b"\x01"
_PLAIN: Final = b"\x02"
_DEFLATED: Final = b"\x03"
#: Records of more octets are compressed.
_LONG: Final = 4096
_LEVEL: Final = 1
#: What the first form was compressed against. It is part of that form and never changes.
_SAMPLE: Final = (
    b'"client_name":"mail.unknown","sni":"mx.","peer_name":"","is_verified":true,"mechanism":"PLAIN","LOGI'
    b'N","protocol":"ESMTPS","closed_by":"timeout","server","error","drain","client","stage":"connect","au'
    b'th","rcpt","data","verdict":{"action":"reject","score":0.0,"would":"","decided_by":{"filter":"","rea'
    b'son":"","action":"note","score":0.0,"public":"","detail":"","is_shadow":false,"duration_ms":0.0}},"t'
    b'ag","defer","quarantine","state":"refused","deferred","known","delivered","reply":{"code":550,"enhan'
    b'ced":"5.1.1","5.7.1","text":"No such user here"},"code":451,"enhanced":"4.7.1","4.4.1","4.3.0","text'
    b'":"Try again later"},"outcome":"refused","deferred","aborted","unacked","unknown","notes":["bare_new'
    b'line","no_final_newline","known_from_ledger","client_gone"],"role":"submission","what":"BDAT","gone"'
    b',"close","XCLIENT","AUTH","RSET","connection reset","filter",{"id":"","is_live":false,"listener":"mx'
    b'","role":"mx","revision":"","started":17,"duration_ms":,"client_ip":"","client_port":,"client_name":'
    b'"","peer_ip":"","helo":"mail.example.com","protocol":"ESMTP","tls":{"version":"TLSv1.3","cipher":"TL'
    b'S_AES_256_GCM_SHA384","sni":"","peer_name":"","is_verified":false},"tls":null,"user":"","mechanism":'
    b'"","stage":"idle","closed_by":"quit","errors":0,"octets_in":,"octets_out":,"findings":[],"messages":'
    b'[{"id":"","session_id":"","sender":"<@.com>","recipients":[{"address":"<@.org>","state":"accepted","'
    b'reply":{"code":250,"enhanced":"2.1.5","text":"Ok"},"final":{"code":250,"enhanced":"2.0.0","text":"Ok'
    b': queued as "},"final":null},{"address":"<"}],"route":1,"backend":"mail","server":"127.0.0.1:25","ba'
    b'ckend_tls":"TLSv1.3","size_octets":,"message_id":"<@mail.com>","subject":"Re: =?UTF-8?Q?","outcome":'
    b'"delivered","reply":{"code":250,"enhanced":"2.0.0","text":"Ok: queued as "},"verdict":null,"findings'
    b'":[],"notes":[],"begun_ms":0.,"data_ms":0.,"end_ms":0.,"verdict_ms":0.,"committed_ms":0.,"ended_ms":'
    b'0.00000000000}],"timeline":[{"at_ms":0.0,"who":"client","what":"EHLO","detail":"mail."},{"at_ms":0.,'
    b'"who":"client","what":"TLS","detail":"TLSv1.3 TLS_AES_256_GCM_SHA384"},{"at_ms":1.,"who":"client","w'
    b'hat":"MAIL","detail":"@"},{"at_ms":2.,"who":"backend","what":"link","detail":":25"},{"at_ms":3.,"who'
    b'":"client","what":"RCPT","detail":"<@> 250 Ok"},{"at_ms":4.,"who":"client","what":"DATA","detail":""'
    b'},{"at_ms":5.99999999999,"who":"us","what":"delivered","detail":"Ok: queued as "}],"dropped_steps":0'
    b"}"
)


def pack(record: Any) -> bytes:
    """A record as octets. Raises nothing for what `policy.record.compact` makes."""
    try:
        octets = to_json(record)
    except (PydanticSerializationError, ValueError):
        # Half a surrogate pair cannot be UTF-8; as an escape it can.
        octets = json.dumps(record, separators=(",", ":"), default=str).encode("ascii")
    if len(octets) <= _LONG:
        return _PLAIN + octets
    return _DEFLATED + zlib.compress(octets, _LEVEL)


def unpack(octets: bytes) -> Any:
    """The record: lists, or of earlier versions a mapping. Raises ValueError where the octets are damaged."""
    mark = octets[:1]
    try:
        if mark == _PLAIN:
            text = octets[1:]
        elif mark == _DEFLATED:
            text = zlib.decompress(octets[1:])
        elif mark == _SAMPLED:
            reader = zlib.decompressobj(-13, _SAMPLE)
            text = reader.decompress(octets[1:]) + reader.flush()
        else:
            text = zlib.decompress(octets)
    except zlib.error as error:
        raise ValueError(f"damaged record: {error}") from error
    try:
        return from_json(text)
    except ValueError:
        # What only the standard library wrote, only it reads.
        return json.loads(text)
