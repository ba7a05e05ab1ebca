//! Captures of a few frames: odd grammar, odd ports, things that only look like SIP.
//! In: the packets, read by hand. Out: a table. Knows nothing of offhook.

use super::model::*;

pub const CAPTURES: &[Capture] = &[
    // One INVITE with compact header names (v, f, t, i, l), no answer. Nothing is known of anybody: a caller who
    // is not registered counts from the first response above 100.
    Capture {
        file: "OISF__suricata-verify__sip-compact-form__sip_compact_form.pcap",
        begins_us: 1_713_446_096_386_450,
        frames: 1,
        messages: (0, 1),
        question: r#"is From: \"arik\" <sip:…> (escaped quotes outside a quoted string) a broken message?"#,
        ..NOBODY
    },
    // The same INVITE with two To header fields, "t:" and "To:". No answer.
    Capture {
        file: "OISF__suricata-verify__sip-header-multi-value__sip_header_multi_val.pcap",
        begins_us: 1_718_810_493_156_061,
        frames: 1,
        messages: (0, 1),
        question: "is a message with two different To header fields one?",
        ..NOBODY
    },
    // OPTIONS from alice and its 200. Says nothing about anybody.
    Capture {
        file: "OISF__suricata-verify__sip-options-method__input.pcap",
        begins_us: 1_780_141_590_686_694,
        frames: 2,
        messages: (2, 2),
        ..NOBODY
    },
    // A REGISTER on port 5062 without credentials, and its 401. Nobody is registered.
    Capture {
        file: "OISF__suricata-verify__sip-pattern-matching__sip.pcap",
        begins_us: 1_700_898_988_324_229,
        frames: 2,
        messages: (2, 2),
        ..NOBODY
    },
    // The same over TCP, handshake and all (its Via says UDP).
    Capture {
        file: "OISF__suricata-verify__sip-tcp-pattern-matching__sip.pcap",
        begins_us: 1_700_898_905_695_126,
        frames: 7,
        messages: (2, 2),
        ..NOBODY
    },
    // 816666 calls 97239287044, frame 2 is the 200, without a To-tag (an endpoint of RFC 2543). No ACK, no end.
    // Caller by its From; called by To, since no REGISTER of that domain was seen.
    Capture {
        file: "OISF__suricata-verify__sip-sdp__sdp.pcap",
        begins_us: 1_728_977_333_934_216,
        frames: 2,
        messages: (0, 2),
        people: &[
            unregistered("sip:816666@voip.brurjula.net", &[&[online(2, 0.000233, TALKING)], &[]]),
            unregistered("sip:97239287044@voip.brujula.net", &[&[online(2, 0.000233, TALKING)], &[]]),
        ],
        question: r#"is From: \"arik\" <sip:…> a broken message? does a 200 without a To-tag confirm a dialog?"#,
        ..NOBODY
    },
    // alice calls bob, Content-Length is "bad" in the INVITE and "xyz" in the 200: both are still messages.
    // No body anywhere, so the 200 does not carry the offer: talking at the 200.
    Capture {
        file: "zeek__zeek__invalid-content-length.pcap",
        begins_us: 1_781_520_273_766_727,
        frames: 2,
        messages: (2, 2),
        people: &[
            unregistered("sip:alice@10.0.0.1", &[&[online(2, 0.000_830, TALKING)]]),
            unregistered("sip:bob@10.0.0.2", &[&[online(2, 0.000_830, TALKING)]]),
        ],
        oddities: &["content_length"],
        ..NOBODY
    },
    // Raw IPv4. OPTIONS and 200 of 9.5 kB each: nine Via, whose hosts are a thousand letters long.
    Capture {
        file: "zeek__zeek__sip-long-request-response-paths.pcap",
        begins_us: 1_786_134_717_096_083,
        frames: 2,
        messages: (2, 2),
        ..NOBODY
    },
    // Two unrelated messages on port 52380. Frame 1: 1005 sends an INVITE, never answered here: nothing yet.
    // Frame 2: 1006's phone accepts an INVITE, not seen, that came from 1005 by way of the PBX: a call joined in
    // the middle. The PBX's address is not known to be a server's, so From counts; To, as nobody registered.
    Capture {
        file: "seladb__PcapPlusPlus__sip_non_default_port.pcap",
        begins_us: 1_766_420_461_358_045,
        frames: 2,
        messages: (2, 2),
        people: &[
            unregistered("sip:1005@192.168.21.83", &[&[online(2, 1.429_274, TALKING)]]),
            unregistered("sip:1006@192.168.20.68", &[&[online(2, 1.429_274, TALKING)]]),
        ],
        ..NOBODY
    },
    // An attack tool's INVITE "sip:@127.0.0.1" from port 62986 with no tag and no branch; a softphone rings (180,
    // sent to 5060, where nobody listens: ICMP). Neither From nor To has a user: there is no AOR to speak of.
    Capture {
        file: "NormB__sipnab__metasploit-sip-invite-spoof.pcap",
        begins_us: 1_175_737_878_700_063,
        frames: 3,
        messages: (2, 2),
        ..NOBODY
    },
    // "INVITE sip:batman@…" and nothing else: no header field at all; frame 6 holds 100, 180 and 200 in one datagram.
    // No call can be followed.
    Capture {
        file: "josemanuelbarja__ptavi-p6__invite.libpcap",
        begins_us: 1_543_333_705_157_494,
        frames: 615,
        messages: (0, 7),
        question: "does sip_messages count start lines without the fields that every message has?",
        ..NOBODY
    },
    // One REGISTER, granted for 20 s (180 were asked for); the file ends before.
    Capture {
        file: "NormB__sipnab__sip-register.pcap",
        begins_us: 1_312_180_642_150_251,
        frames: 2,
        messages: (2, 2),
        people: &[registered("sip:201@10.33.6.101", &[&[online(2, 0.034_522, IDLE)]])],
        ..NOBODY
    },
    // HTTP over TCP: the request's path holds "/SIP/2.0-space-200…", the answer begins "SIP/2.0 200 ok" and goes on
    // with "HTTP/1.1 200 ok".
    Capture {
        file: "OISF__suricata-verify__http-evader-486__input.pcap",
        begins_us: 1_451_761_681_407_862,
        frames: 8,
        ..NOBODY
    },
    // RTSP over TCP, cooked; a pcapng file although its name ends in pcap. Its OPTIONS and SETUP look like SIP.
    Capture { file: "ntop__nDPI__rtsp.pcap", begins_us: 1_627_567_277_506_127, frames: 568, ..NOBODY },
    // SSDP: M-SEARCH over UDP.
    Capture {
        file: "ntop__nDPI__ssdp-m-search.pcap",
        begins_us: 1_532_054_645_808_785,
        frames: 19,
        ..NOBODY
    },
    // Two pings in a big-endian file.
    Capture { file: "arkime__arkime__bigendian.pcap", begins_us: 1_335_958_313_152_630, frames: 2, ..NOBODY },
    // A section and an interface, no packet.
    Capture {
        file: "the-tcpdump-group__tcpdump__empty.pcapng",
        question: "is a sound capture without packets \"empty\" (exit 1)?",
        exit: Exit::EmptyEitherWay,
        ..NOBODY
    },
    // Eight HEP3 datagrams. HEP is not unwrapped: nothing is visible.
    Capture {
        file: "sipcapture__hep-wireshark__hep.pcap",
        begins_us: 1_481_455_196_141_619,
        frames: 8,
        ..NOBODY
    },
];
