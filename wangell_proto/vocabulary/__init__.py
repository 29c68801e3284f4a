"""What Wangell's services say to each other over the protocol.

The protocol's core carries these as bytes and never imports this package; controller and daemon
import it so that neither imports the other. `records` is what the table holds, `reports` what
daemons and controllers send; `codec` turns both into msgpack and refuses anything else.
"""

from wangell_proto.vocabulary.codec import VocabularyError, decode, encode
from wangell_proto.vocabulary.records import (
    EACH_NODE,
    SOURCES_MAX,
    Endpoint,
    Frontend,
    Phase,
    ServiceRecord,
    decode_record,
    encode_record,
)
from wangell_proto.vocabulary.reports import (
    Activity,
    Armed,
    ColdStart,
    Count,
    Counted,
    Following,
    Listening,
    Raised,
    Report,
    ServiceActivity,
    Started,
    Wake,
    decode_report,
    encode_report,
)

__all__ = [
    "EACH_NODE",
    "SOURCES_MAX",
    "Activity",
    "Armed",
    "ColdStart",
    "Count",
    "Counted",
    "Endpoint",
    "Following",
    "Frontend",
    "Listening",
    "Phase",
    "Raised",
    "Report",
    "ServiceActivity",
    "ServiceRecord",
    "Started",
    "VocabularyError",
    "Wake",
    "decode",
    "decode_record",
    "decode_report",
    "encode",
    "encode_record",
    "encode_report",
]
