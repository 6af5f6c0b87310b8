"""Every reply that the gateway makes itself, in one list.

Each carries the enhanced code that RFC 3463 and RFC 5248 give for its cause; texts name no internal host and no
address, since they go to strangers (the log has the rest). A fault of ours or of a link is always 4yz, whatever
class the cause had (promise 5).
"""

from __future__ import annotations

from smtpgate.smtp.reply import Reply


def _reply(code: int, enhanced: str, *lines: str) -> Reply:
    return Reply(code, enhanced, lines)


# Success and intermediate.
SENDER_OK = _reply(250, "2.1.0", "Sender ok")
RESET_OK = _reply(250, "2.0.0", "Ok")
NOOP_OK = _reply(250, "2.0.0", "Ok")
CHUNK_OK = _reply(250, "2.0.0", "Chunk taken")
VRFY = _reply(252, "2.5.0", "Cannot verify, but will take the message and try")
HELP = _reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH")
ONE_BY_ONE = _reply(353, "", "A reply for each recipient, then one for the message")
START_DATA = _reply(354, "", "End data with <CR><LF>.<CR><LF>")
START_TLS = _reply(220, "2.0.0", "Ready to start TLS")
GOODBYE = _reply(221, "2.0.0", "Goodbye")
ACCEPTED = _reply(250, "2.0.0", "Ok")
#: Says nothing of what became of it: whoever sends what is held need not know.
TAKEN = _reply(250, "2.0.0", "Ok")
DELIVERED_BEFORE = _reply(250, "2.0.0", "Ok: this message was delivered at an earlier try")
RECIPIENT_DELIVERED_BEFORE = _reply(250, "2.1.5", "Ok: this message was delivered to this recipient at an earlier try")
AUTH_OK = _reply(235, "2.7.0", "Authentication succeeded")

# Syntax and order (RFC 5321 section 4.2).
UNKNOWN = _reply(500, "5.5.1", "Command unknown")
SYNTAX = _reply(500, "5.5.2", "Syntax error")
EMPTY_LINE = _reply(500, "5.5.2", "Empty command line")
LINE_TOO_LONG = _reply(500, "5.5.2", "Command line too long")
AUTH_LINE_TOO_LONG = _reply(500, "5.5.6", "Authentication exchange line too long")
BARE_NEWLINE_COMMAND = _reply(500, "5.5.2", "Lone CR or LF in a command line")
BAD_EHLO = _reply(501, "5.5.4", "Give the name of your host")
BAD_SENDER = _reply(501, "5.1.7", "Sender address is malformed")
BAD_RECIPIENT = _reply(501, "5.1.3", "Recipient address is malformed")
ARGUMENT = _reply(501, "5.5.4", "Syntax error in the arguments")
ARGUMENT_CLOSING = _reply(501, "5.5.4", "Chunk size is malformed; closing, since what follows cannot be framed")
NO_ARGUMENT = _reply(501, "5.5.4", "This command takes no argument")
NOT_IMPLEMENTED = _reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = _reply(503, "5.5.1", "Bad sequence of commands")
HELLO_FIRST = _reply(503, "5.5.1", "Say EHLO or HELO first")
NESTED_MAIL = _reply(503, "5.5.1", "Sender was given already")
BINARY_NEEDS_BDAT = _reply(503, "5.5.1", "A BINARYMIME message is sent with BDAT")
TLS_ACTIVE = _reply(503, "5.5.1", "TLS is active already")
ALREADY_AUTHENTICATED = _reply(503, "5.5.1", "Already authenticated")
NO_RECIPIENTS = _reply(554, "5.5.1", "No recipient was accepted")
UNKNOWN_PARAMETER = _reply(555, "5.5.4", "Parameter not recognised or not offered")
NO_SMTPUTF8_SENDER = _reply(550, "5.6.7", "SMTPUTF8 is needed for this sender, and cannot be had on the whole way")
NO_SMTPUTF8_RECIPIENT = _reply(
    553, "5.6.7", "SMTPUTF8 is needed for this recipient, and cannot be had on the whole way"
)
LHLO_ONLY = _reply(500, "5.5.1", "This is LMTP: say LHLO")
LMTP_NO_RECIPIENTS = _reply(503, "5.5.1", "No recipient was accepted")

# Broken framing and other protocols: the session ends.
NOT_SMTP = _reply(421, "4.7.0", "This is a mail server; closing")
TLS_IN_CLEAR_PORT = _reply(500, "5.5.2", "TLS does not begin unasked on this port; closing")
IMPROPER_PIPELINING = _reply(554, "5.5.0", "Data sent before the reply to the command before it; closing")
INPUT_BEHIND_STARTTLS = _reply(554, "5.5.0", "Data sent behind STARTTLS; closing")
EARLY_TALKER = _reply(554, "5.5.0", "Data sent before the greeting; closing")
TOO_MUCH_DISCARDED = _reply(421, "4.7.0", "Too much data; closing")
TOO_MANY_ERRORS = _reply(421, "4.7.0", "Too many errors; closing")
TIMEOUT = _reply(421, "4.4.2", "Timeout; closing")
PAUSED = _reply(421, "4.3.2", "Mail is not taken at the moment; try again later")
SHUTTING_DOWN = _reply(421, "4.3.2", "Service is shutting down; try again soon")
INTERNAL_CLOSING = _reply(421, "4.3.0", "Internal error; closing")
TOO_MANY_CONNECTIONS = _reply(421, "4.3.2", "Too many connections; try again later")
TOO_MANY_FROM_CLIENT = _reply(421, "4.7.0", "Too many connections from your address; try again later")
TOO_MANY_MESSAGES = _reply(421, "4.7.0", "Too many messages in this session; closing")

# TLS and AUTH.
TLS_REQUIRED = _reply(530, "5.7.0", "Issue STARTTLS first")
TLS_UNAVAILABLE = _reply(454, "4.7.0", "TLS is not available now")
AUTH_NEEDS_TLS = _reply(538, "5.7.11", "Encryption is required for authentication")
AUTH_REQUIRED = _reply(530, "5.7.0", "Authentication required")
AUTH_UNAVAILABLE = _reply(454, "4.7.0", "Temporary authentication failure")
AUTH_FAILED = _reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_CANCELLED = _reply(501, "5.7.0", "Authentication cancelled")
AUTH_MECHANISM = _reply(504, "5.5.4", "Authentication mechanism not offered")
AUTH_NOT_OFFERED = _reply(503, "5.5.1", "Authentication is not offered here")
BAD_BASE64 = _reply(501, "5.5.2", "Malformed base64")
BAD_CREDENTIALS = _reply(501, "5.5.2", "Malformed credentials")
TOO_MANY_AUTH_FAILURES = _reply(421, "4.7.0", "Too many authentication failures; closing")
TOO_MANY_GUESSES = _reply(454, "4.7.0", "Too many failed logins from your network; try again in an hour")
XCLIENT_REFUSED = _reply(550, "5.7.0", "Not allowed")
NULL_MX = _reply(556, "5.1.10", "The domain of this recipient takes no mail")
NO_DOMAIN = _reply(550, "5.1.2", "There is no such domain for this recipient, or nobody takes mail for it")
NO_ROAD = _reply(550, "5.4.4", "The domain of this recipient leads to no address of the Internet")
DNS_FAILED = _reply(451, "4.4.3", "The DNS does not say where mail for this recipient goes; try again later")
TOO_MANY_DESTINATIONS = _reply(451, "4.3.2", "Too many destinations at once; try again later")
ENCRYPTION_NEEDED = _reply(550, "5.7.10", "Encryption that is required cannot be had on the way to this recipient")
CLIENT_ENCRYPTION_NEEDED = _reply(530, "5.7.10", "Encryption is required: issue STARTTLS first")
CLIENT_PROOF_NEEDED = _reply(550, "5.7.10", "A client certificate that can be verified is required")
REQUIRETLS_LOST = _reply(550, "5.7.30", "REQUIRETLS cannot be honoured on the way to this recipient")

# Policy.
RELAY_DENIED = _reply(550, "5.7.1", "Relaying denied: not a recipient of this system")
IDENTITY_PINNED = _reply(550, "5.7.1", "This recipient cannot be reached under your login")
NO_ROUTE = _reply(550, "5.7.1", "No route to this recipient")
TOO_MANY_RECIPIENTS = _reply(452, "4.5.3", "Too many recipients; send the rest in another transaction")
OTHER_DESTINATION = _reply(452, "4.5.3", "Send this recipient in another transaction")
MESSAGE_TOO_BIG = _reply(552, "5.3.4", "Message is larger than the limit")
HEADER_TOO_BIG = _reply(554, "5.6.0", "Message header is larger than the limit")
UNSIGNABLE = _reply(554, "5.6.0", "The message cannot be signed: its header is malformed or has too many fields")
LINE_IN_CONTENT_TOO_LONG = _reply(554, "5.6.0", "Message has a line longer than the limit")
BARE_NEWLINE = _reply(550, "5.5.2", "Message holds a lone CR or LF")
BARE_NEWLINE_CLOSING = _reply(521, "5.5.2", "Message holds a lone CR or LF; closing")
EIGHT_BIT = _reply(554, "5.6.3", "Message holds 8-bit octets, and the destination takes none")
ROUTING_LOOP = _reply(554, "5.4.6", "Routing loop: too many Received lines")
PROXY_LOOP = _reply(554, "5.4.6", "Routing loop: the destination is this gateway")

# Faults of ours and of the link: always 4yz.
INTERNAL = _reply(451, "4.3.0", "Internal error; try again later")
FILTER_FAILED = _reply(451, "4.3.0", "A check could not be done; try again later")
BACKEND_UNREACHABLE = _reply(451, "4.4.1", "Destination cannot be reached; try again later")
BACKEND_LOST = _reply(451, "4.4.2", "Connection to the destination was lost; try again later")
BACKEND_BUSY = _reply(451, "4.3.2", "Destination is busy; try again later")
BACKEND_PROTOCOL = _reply(451, "4.3.0", "Destination sent an unexpected reply; try again later")
BACKEND_CLOSING = _reply(451, "4.3.2", "Destination is closing the connection; try again later")
BACKEND_NO_TLS = _reply(451, "4.7.4", "Destination does not offer the encryption that is required; try again later")
BACKEND_TLS_FAILED = _reply(451, "4.7.5", "Encryption to the destination failed; try again later")
BACKEND_NO_XCLIENT = _reply(451, "4.3.5", "Destination is not ready; try again later")
BACKEND_CHANGED = _reply(451, "4.3.0", "Destination no longer takes this parameter; try again")
BACKEND_LOGIN = _reply(451, "4.7.0", "Destination refuses the gateway; try again later")
PARTLY_DELIVERED = _reply(451, "4.3.0", "Delivered to some recipients; the rest follows at your next try")
EARLIER_TRY = _reply(451, "4.3.0", "An earlier try of this message is not settled yet; try again later")
NOT_SIGNED = _reply(451, "4.7.5", "The message could not be signed; try again later")
DISK_FULL = _reply(452, "4.3.1", "Insufficient storage; try again later")
