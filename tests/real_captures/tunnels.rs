//! What three captures show once GRE, IP-in-IP and GTP-U are unwrapped; these rows then take the place of those in
//! `networks.rs`.
//! In: the packets, read by hand. Out: a table. Knows nothing of offhook.

use super::model::*;

pub const CAPTURES: &[Capture] = &[
    // IP-in-IP. The whole call: INVITE, "183 Ringing" (2), 200 (3), BYE (4). Someone rewrote From and To in the answers
    // (…001@172.28.1.3 and …001@10.15.197.103): they are not the caller's and not what was dialled.
    Capture {
        file: "irontec__sngrep__ipip.pcap",
        begins_us: 1_639_489_747_335_564,
        frames: 4,
        messages: (4, 4),
        people: &[
            unregistered(
                "sip:1bdaa608131517540000@10.15.197.103",
                &[&[
                    unknown(2, 0.010_416, CALLING),
                    online(3, 1.659_560, TALKING),
                    unknown(4, 33.672_115, IDLE),
                ]],
            ),
            unregistered(
                "sip:1bdaa608131517540000@10.15.193.31",
                &[&[online(3, 1.659_560, TALKING), unknown(4, 33.672_115, IDLE)], &[]],
            ),
            unregistered(
                "sip:1bdaa608131517540001@10.15.197.103",
                &[&[], &[online(3, 1.659_560, TALKING), unknown(4, 33.672_115, IDLE)]],
            ),
        ],
        ends: &["bye"],
        question: "whose is a called end when the To of its answers is not the To that was sent: the request's?",
        ..NOBODY
    },
    // GTP-U, a telephone with IPv6: registers as tel:263734 (29). It calls 122 as tel:+88270006, from the same Contact:
    // INVITE (39, 40), 180, 200 (47), BYE from the network (80). Unregisters: 200 without Contact (102). The other
    // end answered the REGISTER: a server, nobody.
    Capture {
        file: "arkime__arkime__gtp-iphone.pcap",
        begins_us: 1_415_985_409_420_211,
        frames: 106,
        messages: (17, 17),
        people: &[registered(
            "tel:263734",
            &[&[
                online(29, 36.302_157, IDLE),
                online(40, 75.521_978, CALLING),
                online(47, 80.656_153, TALKING),
                online(80, 91.293_061, IDLE),
                Step { frame: 102, at_s: 150.421_803, terminal: "offline", session: IDLE },
            ]],
        )],
        ends: &["bye"],
        ..NOBODY
    },
    // GRE between two PBXs, nine hours, five calls, no REGISTER. 281 calls 271: 180 (4), 200 (5), BYE (7). 22150270 calls
    // 283: 180 (11), CANCEL (12), 487 (13). 281 calls 271: 180 (18), CANCEL (19), 487 (20). 22465699 calls 283: 180 (25),
    // CANCEL (26), 487 (27): its address now speaks for two callers, a gateway. 281 calls 271: 180 (32), 200 (33),
    // BYE (35). The answers call themselves 271 in the 180s and 22150271 in the 200s (P-Asserted-Identity).
    Capture {
        file: "ntop__nDPI__gre_sip.pcapng",
        begins_us: 1_483_481_809_469_240,
        frames: 36,
        messages: (36, 36),
        people: &[
            unregistered(
                "sip:281@192.168.103.40",
                &[&[
                    unknown(4, 19_540.974_434, CALLING),
                    online(5, 19_544.939_366, TALKING),
                    unknown(7, 19_581.350_514, IDLE),
                    unknown(18, 28_714.683_182, CALLING),
                    unknown(20, 28_728.889_483, IDLE),
                    unknown(32, 32_817.257_241, CALLING),
                    online(33, 32_821.290_131, TALKING),
                    unknown(35, 32_902.879_816, IDLE),
                ]],
            ),
            unregistered(
                "sip:283@192.168.103.40",
                &[&[
                    unknown(11, 21_650.593_453, RINGING),
                    unknown(12, 21_668.448_353, IDLE),
                    unknown(25, 32_583.560_643, RINGING),
                    unknown(26, 32_611.488_034, IDLE),
                ]],
            ),
            unregistered(
                "sip:22150270@192.168.10.210",
                &[&[unknown(11, 21_650.593_453, CALLING), unknown(13, 21_668.595_583, IDLE)]],
            ),
            unregistered(
                "sip:22465699@192.168.10.210",
                &[&[], &[unknown(25, 32_583.560_643, CALLING), unknown(27, 32_611.658_634, IDLE)]],
            ),
            Person {
                aor: "sip:271@192.168.10.210",
                registers: false,
                readings: &[&[]],
                anything_but: Some(&[CALLING, HELD]),
            },
            Person {
                aor: "sip:22150271@192.168.10.210",
                registers: false,
                readings: &[&[]],
                anything_but: Some(&[CALLING, HELD]),
            },
        ],
        ends: &["bye", "cancelled"],
        question: "which P-Asserted-Identity counts when the 180 and the 200 differ?",
        ..NOBODY
    },
];
