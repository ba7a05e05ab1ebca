//! Captures beside phones, PBXs and small proxies.
//! In: the packets, read by hand. Out: a table. Knows nothing of offhook.

use super::model::*;

pub const CAPTURES: &[Capture] = &[
    // 1001 calls 1002 straight: 180 in frame 3, 200 in 4, ACK in 5, BYE in 6. No body anywhere, so the 200 carries
    // no offer: talking at the 200. Before and after the call nothing is known of the terminals.
    Capture {
        file: "NormB__sipnab__sip_call.pcap",
        begins_us: 1_700_000_000_000_000,
        frames: 7,
        messages: (7, 7),
        people: &[
            unregistered(
                "sip:1001@10.0.0.1",
                &[&[unknown(3, 0.5, CALLING), online(4, 2.0, TALKING), unknown(6, 60.0, IDLE)]],
            ),
            unregistered(
                "sip:1002@10.0.0.2",
                &[&[unknown(3, 0.5, RINGING), online(4, 2.0, TALKING), unknown(6, 60.0, IDLE)]],
            ),
        ],
        ends: &["bye"],
        ..NOBODY
    },
    // The same over one TCP stream, with 57 RTP packets between; the gateway 201 hangs up. The 100 has a To-tag.
    Capture {
        file: "NormB__sipnab__sip-over-tcp.pcap",
        begins_us: 1_311_857_686_556_175,
        frames: 84,
        messages: (7, 7),
        people: &[
            unregistered(
                "sip:101@10.33.6.100",
                &[&[
                    unknown(7, 0.064_948, CALLING),
                    online(9, 4.349_461, TALKING),
                    unknown(81, 6.500_977, IDLE),
                ]],
            ),
            unregistered(
                "sip:201@10.33.6.101",
                &[&[
                    unknown(7, 0.064_948, RINGING),
                    online(9, 4.349_461, TALKING),
                    unknown(81, 6.500_977, IDLE),
                ]],
            ),
        ],
        ends: &["bye"],
        ..NOBODY
    },
    // 201 calls 101 through a proxy (10.33.6.102:5080); both hops are in the file, one Call-ID, same tags. 180 on
    // the phone's hop in frame 5 (on the caller's in 6), 200 in 7 (8). ACK and BYE go straight, past the proxy.
    Capture {
        file: "NormB__sipnab__sip-proxy.pcap",
        begins_us: 1_312_180_650_454_022,
        frames: 11,
        messages: (11, 11),
        people: &[
            unregistered(
                "sip:101@10.33.6.102",
                &[&[
                    unknown(5, 0.095_776, RINGING),
                    online(7, 0.708_086, TALKING),
                    unknown(10, 2.957_262, IDLE),
                ]],
            ),
            unregistered(
                "sip:201@10.33.6.101",
                &[&[
                    unknown(5, 0.095_776, CALLING),
                    online(7, 0.708_086, TALKING),
                    unknown(10, 2.957_262, IDLE),
                ]],
            ),
        ],
        ends: &["bye"],
        ..NOBODY
    },
    // sipp calls test: the first offer is recvonly (it will only listen), the answer sendonly. That is no hold:
    // nobody was talking before. 200 in frame 4, BYE by the called side in 432, its own CSeq space.
    Capture {
        file: "NormB__sipnab__sip-rtp-g722.pcap",
        begins_us: 1_480_172_906_214_942,
        frames: 433,
        messages: (6, 6),
        people: &[
            unregistered(
                "sip:sipp@10.0.2.20",
                &[
                    &[online(4, 0.004_511, TALKING), unknown(432, 8.503_579, IDLE)],
                    &[online(4, 0.004_511, HELD), unknown(432, 8.503_579, IDLE)],
                ],
            ),
            unregistered(
                "sip:test@10.0.2.15",
                &[
                    &[online(4, 0.004_511, TALKING), unknown(432, 8.503_579, IDLE)],
                    &[online(4, 0.004_511, HELD), unknown(432, 8.503_579, IDLE)],
                ],
            ),
        ],
        ends: &["bye"],
        question: "does a first offer of recvonly, answered sendonly, begin on hold?",
        ..NOBODY
    },
    // The same pair with Opus: INVITE and 200 only. Still talking when the file ends. Contact without brackets.
    Capture {
        file: "NormB__sipnab__sip-rtp-opus-hybrid.pcap",
        begins_us: 1_480_255_668_834_427,
        frames: 7,
        messages: (2, 2),
        people: &[
            unregistered(
                "sip:sipp@10.0.2.20",
                &[&[online(2, 0.005_554, TALKING)], &[online(2, 0.005_554, HELD)]],
            ),
            unregistered(
                "sip:test@10.0.2.15",
                &[&[online(2, 0.005_554, TALKING)], &[online(2, 0.005_554, HELD)]],
            ),
        ],
        question: "does a first offer of recvonly, answered sendonly, begin on hold?",
        ..NOBODY
    },
    // Loopback link type; matthew calls auto on the same machine: 100, then 200 in frame 3. No BYE.
    Capture {
        file: "NormB__sipnab__h263-over-rtp.pcap",
        begins_us: 1_208_261_984_291_540,
        frames: 49,
        messages: (4, 4),
        people: &[
            unregistered("sip:auto@localhost", &[&[online(3, 0.318_597, TALKING)]]),
            unregistered("sip:matthew@mxtelecom.com", &[&[online(3, 0.318_597, TALKING)]]),
        ],
        ..NOBODY
    },
    // OPTIONS pings; then 8801 calls 8802 with an offer of nothing (port 0, inactive): 401, again with credentials,
    // 100, 488. No response from 101 on, nobody registered: nobody is seen.
    Capture {
        file: "NormB__sipnab__sip-488-codec-reject.pcapng",
        begins_us: 1_566_926_798_890_031,
        frames: 13,
        messages: (13, 13),
        ..NOBODY
    },
    // telephone1 with a wrong password: REGISTER 401, 403; SUBSCRIBE (message-summary) 401, 403. Nobody.
    Capture {
        file: "NormB__sipnab__sip-auth-failure.pcapng",
        begins_us: 1_463_472_095_431_471,
        frames: 8,
        messages: (8, 8),
        ..NOBODY
    },
    // telephone1 and telephone2 register (frames 4, 10). telephone2 calls telephone1: 401 (24), again (28), 404 (30).
    // At 190 s telephone1 calls telephone2: 401, again, 404 (49). The Contact of the INVITEs lacks the binding's
    // rinstance parameter, and equals it all the same. SUBSCRIBE and PUBLISH are all refused (480, 404, 489).
    Capture {
        file: "NormB__sipnab__sip-routing-error.pcapng",
        begins_us: 1_463_594_496_212_041,
        frames: 58,
        messages: (58, 58),
        people: &[
            registered(
                "sip:telephone1@172.16.98.101",
                &[&[
                    online(4, 0.001_166, IDLE),
                    online(45, 190.284_046, CALLING),
                    online(49, 190.289_557, IDLE),
                ]],
            ),
            registered(
                "sip:telephone2@172.16.98.101",
                &[&[
                    online(10, 17.207_430, IDLE),
                    online(21, 54.679_995, CALLING),
                    online(30, 54.697_985, IDLE),
                ]],
            ),
        ],
        ends: &["rejected"],
        ..NOBODY
    },
    // A DECT base registers three lines, all at 192.168.105.110:5060, without credentials. 2502 calls 2504 before
    // that one has registered: 603. Then again (14), through the proxy (16): 180 (18), 200 (20). The INVITE has no
    // body, the 200 has the offer, the ACK (22, on the other hop 23) the answer: talking at the ACK. No BYE.
    // INVITE Contacts have transport=udp, the bindings have none: not equal (RFC 3261 §19.1.4); three bindings
    // share the flow, so From decides. The proxy rewrites Contact and To on its hop.
    Capture {
        file: "NormB__sipnab__SIP_DTMF2.cap",
        begins_us: 1_126_267_345_330_945,
        frames: 1_360,
        messages: (29, 29),
        people: &[
            registered(
                "sip:2502@192.168.105.105",
                &[&[
                    online(6, 10.033_344, IDLE),
                    online(7, 36.002_756, CALLING),
                    online(9, 36.019_858, IDLE),
                    online(14, 52.003_970, CALLING),
                    online(22, 54.354_963, TALKING),
                ]],
            ),
            registered("sip:2503@192.168.105.105", &[&[online(3, 0.032_186, IDLE)]]),
            registered(
                "sip:2504@192.168.105.105",
                &[&[
                    online(13, 40.034_723, IDLE),
                    online(18, 53.102_765, RINGING),
                    online(22, 54.354_963, TALKING),
                ]],
            ),
        ],
        ends: &["rejected"],
        ..NOBODY
    },
    // A REGISTER with digest behind NAT, refreshed after 300 s of the 600 granted; "hello" keep-alives between.
    Capture {
        file: "ntop__nDPI__sip_hello.pcapng",
        begins_us: 1_645_515_834_707_950,
        frames: 30,
        messages: (8, 8),
        people: &[registered("sip:26841945@10.192.60.4", &[&[online(12, 160.691_151, IDLE)]])],
        ..NOBODY
    },
    // 56 REGISTERs, in five runs of ten retransmissions and a lone one, all without credentials, and an INVITE
    // sent seven times: not one answer. Nobody is believed.
    Capture {
        file: "MichalCab__ISA__old_sip.pcap",
        begins_us: 1_416_927_076_574_395,
        frames: 164,
        messages: (63, 63),
        ..NOBODY
    },
    // A B2BUA (10.0.2.15) without a REGISTER in sight. Leg A: test19 calls 1018 (6), 180 (11), 200 (21). Leg B: the
    // B2BUA, still saying From: test19, calls test18 (8), 180 (10), 200 (17). Re-INVITEs cross on both legs after it
    // (22, 25, 40), once from 1018. test18 hangs up (501); a re-INVITE on leg A (504), then its BYE (512).
    // Each leg is read on its own. The B2BUA's From on leg B is all that is known of that end, until frame 25
    // shows that the address speaks for two.
    Capture {
        file: "MichalCab__ISA__old_i_was_called_by_another_pc.pcap",
        begins_us: 1_417_131_482_858_682,
        frames: 518,
        messages: (33, 33),
        people: &[
            unregistered(
                "sip:1018@10.0.2.15",
                &[
                    &[
                        unknown(11, 2.315_314, RINGING),
                        online(21, 31.704_036, TALKING),
                        unknown(512, 36.728_997, IDLE),
                    ],
                    &[
                        unknown(11, 2.315_314, RINGING),
                        online(21, 31.704_036, TALKING),
                        unknown(25, 31.712_146, IDLE),
                    ],
                ],
            ),
            unregistered(
                "sip:test18@10.0.2.5",
                &[&[
                    unknown(10, 2.293_450, RINGING),
                    online(17, 31.702_025, TALKING),
                    unknown(501, 36.702_781, IDLE),
                ]],
            ),
            unregistered(
                "sip:test19@10.0.2.15",
                &[
                    &[
                        unknown(10, 2.293_450, CALLING),
                        online(17, 31.702_025, TALKING),
                        unknown(512, 36.728_997, IDLE),
                    ],
                    &[
                        unknown(11, 2.315_314, CALLING),
                        online(21, 31.704_036, TALKING),
                        unknown(512, 36.728_997, IDLE),
                    ],
                ],
            ),
        ],
        ends: &["bye"],
        question: "does a re-INVITE under a second From make an address a gateway, and does that also end the weak To?",
        ..NOBODY
    },
    // A softphone with several accounts on one socket, 192.168.1.2:5060, 26 minutes. One Call-ID serves the
    // REGISTERs of three AORs. voi18063: wrong password. voi18062: registered (182). At 508 s the phone calls out
    // by another provider (223, From 816666): no answer but 100; CANCEL eleven times, 408 to the INVITE (252): the
    // flow is voi18062's. At 692 s it calls as voi18062: 407 (326), the next INVITE only after 32 s: not a retry.
    // That one (346) is refused: 403 (348). Unregistering fails (432). 35104723 registers with voi18062's
    // credentials (527): two bindings share flow and digest user, From decides. It calls: 407 (550), not retried;
    // 403 (581); 407 (603), not retried; 183 (620) and 480 (621).
    Capture {
        file: "irontec__sngrep__aaa.pcap",
        begins_us: 1_120_469_540_839_312,
        frames: 691,
        messages: (81, 81),
        people: &[
            registered(
                "sip:voi18062@sip.cybercity.dk",
                &[&[
                    online(182, 415.567_606, IDLE),
                    online(223, 508.349_681, CALLING),
                    online(252, 545.122_486, IDLE),
                    online(321, 692.955_151, CALLING),
                    online(326, 698.609_420, IDLE),
                    online(346, 727.084_304, CALLING),
                    online(348, 727.288_864, IDLE),
                ]],
            ),
            registered(
                "sip:35104723@sip.cybercity.dk",
                &[&[
                    online(527, 1_273.510_395, IDLE),
                    online(548, 1_307.689_521, CALLING),
                    online(550, 1_311.843_614, IDLE),
                    online(578, 1_359.023_578, CALLING),
                    online(581, 1_359.217_431, IDLE),
                    online(602, 1_425.604_602, CALLING),
                    online(603, 1_429.762_278, IDLE),
                    online(617, 1_443.024_176, CALLING),
                    online(621, 1_443.493_311, IDLE),
                ]],
            ),
        ],
        ends: &["rejected", "not_retried"],
        ..NOBODY
    },
    // The capture before with bits flipped in most messages, in a big-endian file. No REGISTER exchange survives
    // whole. What may be believed: 35104723's REGISTER with credentials (524, one line ends in LF only) after 4 s,
    // or the 200 with a damaged From (650). Nobody rings or talks, and no damaged name may appear.
    Capture {
        file: "ntop__nDPI__fuzz-2006-06-26-2594.pcap",
        begins_us: 1_120_469_540_839_312,
        frames: 691,
        messages: (1, 69),
        people: &[Person {
            aor: "sip:35104723@sip.cybercity.dk",
            registers: true,
            readings: &[&[]],
            anything_but: Some(&[RINGING, TALKING, HELD]),
        }],
        oddities: &["malformed_message"],
        question: "how much damage does a message bear?",
        ..NOBODY
    },
];
