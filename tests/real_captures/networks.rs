//! Captures inside operators' networks: mobile cores, session border controllers, WebSocket edges.
//! Tunnels (GRE, IP-in-IP, GTP-U, ESP), HEP and WebSocket are taken as opaque here: only what is visible without
//! unwrapping is expected. `tunnels.rs` holds what some of them carry.
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
    // A proxy (10.243.0.157) between WebSocket phones (opaque here), a B2BUA (10.243.0.143) and a carrier
    // (10.243.1.36). Call 1 from the WebSocket, on its inner hop: INVITE (20), 180 (23), 183, 200 (44), BYE (54).
    // Call 2, made by the B2BUA: INVITE (26, 28), 183 (30), 200 (40), BYE (58); there the To of the answers is not
    // the one that was dialled. The proxy sends two Via, so its own address is nobody's.
    Capture {
        file: "sipcapture__heplify__sip_tcp_websocket.pcap",
        begins_us: 1_542_051_161_194_311,
        frames: 61,
        messages: (28, 39),
        people: &[
            unregistered(
                "sip:12675941249_Uclx8s21Ck82KTJtkFC1ltbEbcHGKjXLrsz2bdJVWGX@dev-mike.tncp.textnow.com",
                &[&[
                    unknown(23, 4.493_169, CALLING),
                    online(44, 13.398_678, TALKING),
                    unknown(54, 16.734_749, IDLE),
                ]],
            ),
            unregistered(
                "sip:+12263382742@dev-mike.tncp.textnow.com",
                &[&[
                    unknown(23, 4.493_169, RINGING),
                    online(44, 13.398_678, TALKING),
                    unknown(54, 16.734_749, IDLE),
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
    // Everything is in GRE (over VLAN, one frame QinQ and PPPoE): nothing is visible.
    Capture { file: "ntop__nDPI__gre_sip.pcapng", begins_us: 1_483_481_809_469_240, frames: 36, ..NOBODY },
    // One TCP stream, joined in the middle, of which the INVITE (1) and the BYE (4) are visible; the 183 and the 200
    // are in IP-in-IP. An INVITE without an answer, then its end: nobody.
    Capture {
        file: "irontec__sngrep__ipip.pcap",
        begins_us: 1_639_489_747_335_564,
        frames: 4,
        messages: (2, 2),
        ..NOBODY
    },
    // Everything is in GTP-U: nothing is visible.
    Capture {
        file: "arkime__arkime__gtp-iphone.pcap",
        begins_us: 1_415_985_409_420_211,
        frames: 106,
        ..NOBODY
    },
    // A mobile core on one address (10.4.128.21): tel:0298765432100 calls 0198765432100 over five inner hops (42–55),
    // 200 from the phone in frame 92 (two fragments, Via as one comma list), then hop by hop back to the caller (TCP,
    // 113). No 180. ACK 131–134. Some copies of P-Asserted-Identity read <sip:0298765432100@<null>>, which is
    // nobody. Frame 25 is 6 µs older than 24. A fragment without its first half (15) stays alone.
    Capture {
        file: "open5gs__open5gs__volte.pcapng",
        begins_us: 1_579_086_364_937_701,
        frames: 371,
        messages: (24, 24),
        people: &[
            unregistered("tel:0298765432100", &[&[online(92, 4.870_777, TALKING)], &[]]),
            unregistered(
                "sip:0198765432100;phone-context=ims.mnc001.mcc001.3gppnetwork.org@ims.mnc001.mcc001.3gppnetwork.org",
                &[&[online(92, 4.870_777, TALKING)]],
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
        messages: (26, 26),
        people: &[registered(
            "sip:001011234567895@ims.mnc001.mcc001.3gppnetwork.org",
            &[&[online(706, 2.562_871, IDLE)], &[online(708, 2.566_334, IDLE)]],
        )],
        question: "is a registration seen at the first hop's 200, or at the one nearest the phone?",
        ..NOBODY
    },
    // The same core with ESP to the phones: tel:0498765432100 calls 0398765432100. Visible are the hops inside (28–74),
    // 183 (114), PRACK, UPDATE, 180 (238), 200 (602, no body: the offer was in the INVITE), ACK (639). The request's
    // last hop, to the phone, is in ESP; of that hop only the phone's 100 (89, six Via) and later answers show.
    Capture {
        file: "open5gs__open5gs__ipsec_to_ipsec_call.pcapng",
        begins_us: 1_587_118_714_994_364,
        frames: 1_715,
        messages: (42, 42),
        people: &[
            unregistered(
                "tel:0498765432100",
                &[&[unknown(114, 1.717_453, CALLING), online(602, 5.822_236, TALKING)], &[]],
            ),
            unregistered(
                "sip:0398765432100;phone-context=0498765432100@0498765432100",
                &[&[], &[unknown(238, 1.992_863, RINGING), online(602, 5.822_236, TALKING)]],
            ),
        ],
        question: "is tel: shown without a domain? does an answer alone show the hop with the most Via?",
        ..NOBODY
    },
];
