//! Captures inside operators' networks: mobile cores, session border controllers, WebSocket edges.
//! HEP and WebSocket are taken as opaque here: only what is visible without unwrapping is expected.
//! In: the packets, read by hand. Out: a table. Knows nothing of offhook.

use super::model::*;

pub const CAPTURES: &[Capture] = &[
    // UDP over IPv6 with a clock gone mad: years between the frames. 9876 calls 4321: INVITE, 100, and after six
    // years the 200 (frame 3), which shows that the call is up; four hours later it is no longer believed. Both
    // tags are "a3bhg". The URIs write IPv6 without brackets, which is no URI.
    Capture {
        file: "sipcapture__heplify__sip_ipv6_udp.pcap",
        begins_us: 1_328_589_362_251_758,
        frames: 6,
        messages: (0, 6),
        people: &[
            unregistered(
                "sip:4321@[fec0::216:d3ff:fe0d:22c]",
                &[&[], &[online(3, 201_412_350.0, TALKING), unknown(3, 201_426_750.0, IDLE)]],
            ),
            unregistered(
                "sip:9876@[fe80::21a:a0ff:fe07:32e0]",
                &[&[], &[online(3, 201_412_350.0, TALKING), unknown(3, 201_426_750.0, IDLE)]],
            ),
        ],
        question: "is sip:9876@fe80:0:0:0:21a:a0ff:fe07:32e0 read as IPv6 without brackets?",
        ..NOBODY
    },
    // Cooked capture of an SBC (172.168.0.228): 1001 registers over TCP with 172.168.0.228; the SBC passes it on over
    // UDP from port 5160 with another To domain and its own Contact. 200 inside (35), 200 to the phone (36), which is
    // then sent once more by TCP (38). The inner binding's contact is at a server: a trunk, nobody's.
    Capture {
        file: "sipcapture__heplify__sip_ipv4_tcp_retrans.pcap",
        begins_us: 1_507_433_574_088_315,
        frames: 196,
        messages: (8, 8),
        people: &[registered("sip:1001@172.168.0.228", &[&[online(36, 2.286_093, IDLE)]])],
        ..NOBODY
    },
    // A proxy (10.243.0.157) between WebSocket phones (behind 10.243.17.55, joined in the middle), a B2BUA (10.243.0.143) and
    // a carrier (10.243.1.36). Call 1 from the WebSocket: INVITE (11), 407, ACK (15, with a branch of its own), INVITE (18; 20
    // on the inner hop), 180 (23), 183, 200 (44), BYE (52, on the WebSocket). Its caller counts from the 180 on, by her From.
    // Call 2, made by the B2BUA: INVITE (26, 28), 183 (30), 200 (40), BYE (58); there the To of the answers is not
    // the one that was dialled. The proxy sends two Via, so its own address is nobody's.
    Capture {
        file: "sipcapture__heplify__sip_tcp_websocket.pcap",
        begins_us: 1_542_051_161_194_311,
        frames: 61,
        messages: (39, 39),
        people: &[
            unregistered(
                "sip:12675941249_Uclx8s21Ck82KTJtkFC1ltbEbcHGKjXLrsz2bdJVWGX@dev-mike.tncp.textnow.com",
                &[&[
                    unknown(23, 4.493_169, CALLING),
                    online(44, 13.398_678, TALKING),
                    unknown(52, 16.734_518, IDLE),
                ]],
            ),
            unregistered(
                "sip:+12263382742@dev-mike.tncp.textnow.com",
                &[&[
                    unknown(23, 4.493_169, RINGING),
                    online(44, 13.398_678, TALKING),
                    unknown(52, 16.734_518, IDLE),
                ]],
            ),
            unregistered(
                "sip:+12675941249@10.243.0.143",
                &[&[
                    unknown(30, 5.617_203, CALLING),
                    online(40, 13.357_941, TALKING),
                    unknown(58, 16.740_015, IDLE),
                ]],
            ),
            unregistered(
                "sip:9998112263382742@10.243.0.157",
                &[&[online(40, 13.357_941, TALKING), unknown(58, 16.740_015, IDLE)], &[]],
            ),
            unregistered(
                "sip:+12263382742@18.214.104.248",
                &[&[], &[online(40, 13.357_941, TALKING), unknown(58, 16.740_015, IDLE)]],
            ),
        ],
        ends: &["bye"],
        question: "whose is a called end when the To of its answers is not the To that was sent: the request's?",
        ..NOBODY
    },
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
    // A mobile core on one address (10.4.128.21): tel:0298765432100 calls 0198765432100 over five inner hops (42–55),
    // 200 from the phone in frame 88 (GTP-U, two fragments of which the first's own outer packet is two fragments; a
    // second gateway's copy in 89 and 90, unwrapped in 92), then hop by hop back to the caller (TCP, 113). No 180.
    // ACK 129–136. Some copies of P-Asserted-Identity read <sip:0298765432100@<null>>, which is
    // nobody. Frame 25 is 6 µs older than 24. A fragment without its first half (15) stays alone.
    Capture {
        file: "open5gs__open5gs__volte.pcapng",
        begins_us: 1_579_086_364_937_701,
        frames: 371,
        messages: (39, 41),
        people: &[
            unregistered("tel:0298765432100", &[&[online(88, 4.870_650, TALKING)], &[]]),
            unregistered(
                "sip:0198765432100;phone-context=ims.mnc001.mcc001.3gppnetwork.org@ims.mnc001.mcc001.3gppnetwork.org",
                &[&[online(88, 4.870_650, TALKING)]],
            ),
        ],
        oddities: &["time_went_back"],
        question: "is a tel: URI, which has no domain, shown when no domain is given?",
        ..NOBODY
    },
    // The same core: one REGISTER (AKA) over three hops, twice: 401 (426–429), 200 (706, 707, 708), 540000 s. Then
    // SUBSCRIBE to the reg package, which is nobody's watching.
    Capture {
        file: "open5gs__open5gs__nonipsec_reg.pcapng",
        begins_us: 1_587_110_432_370_372,
        frames: 873,
        messages: (48, 50),
        people: &[registered(
            "sip:001011234567895@ims.mnc001.mcc001.3gppnetwork.org",
            &[&[online(706, 2.562_871, IDLE)], &[online(708, 2.566_334, IDLE)]],
        )],
        question: "is a registration seen at the first hop's 200, or at the one nearest the phone?",
        ..NOBODY
    },
    // The same core with ESP (NULL encryption, in GTP-U and outside) to the phones: tel:0498765432100 calls
    // 0398765432100. INVITE from the phone (18), over the hops inside (28–74), to the phone (77); its 183 (92, TCP in
    // ESP in GTP-U), PRACK, UPDATE, 180 (223), 200 (594, no body: the offer was in the INVITE), ACK (624). A phone that
    // never registered here calls from the moment that somebody answers.
    Capture {
        file: "open5gs__open5gs__ipsec_to_ipsec_call.pcapng",
        begins_us: 1_587_118_714_994_364,
        frames: 1_715,
        messages: (90, 101),
        people: &[
            unregistered(
                "tel:0498765432100",
                &[&[unknown(92, 1.697_695, CALLING), online(594, 5.814_696, TALKING)], &[]],
            ),
            unregistered(
                "sip:0398765432100;phone-context=0498765432100@0498765432100",
                &[&[unknown(223, 1.988_448, RINGING), online(594, 5.814_696, TALKING)], &[]],
            ),
        ],
        question: "is tel: shown without a domain? does an answer alone show the hop with the most Via?",
        ..NOBODY
    },
];
