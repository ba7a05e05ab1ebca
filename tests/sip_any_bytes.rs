//! Whatever the bytes are: nothing panics, whoever asks for whatever.
#![allow(missing_docs)]

mod sip_common;

use proptest::prelude::*;
use sip_common::{messages, walk};

const FOLDERS: [&str; 12] = [
    "aflnet-seed",
    "hep",
    "kamailio-test-misc",
    "opensips-parser-tests",
    "pjsip-fuzz-seed",
    "protos-c07-sip",
    "rfc3665",
    "rfc3666",
    "rfc4475",
    "rfc5118",
    "rfc5359",
    "sip3-salto-tests",
];

#[test]
fn every_collected_message_is_read_or_refused() {
    for (_, bytes) in messages(&FOLDERS) {
        walk(&bytes);
    }
}

#[test]
fn torture_messages_cut_at_every_byte() {
    for (_, bytes) in messages(&["rfc4475", "rfc5118"]) {
        for end in 0..bytes.len().min(1_200) {
            walk(&bytes[..end]);
        }
    }
}

const SEEDS: [&[u8]; 3] = [
    b"INVITE sip:bob@[2001:db8::1]:5060;transport=tcp?a=b SIP/2.0\r\nVia : SIP / 2.0/UDP 192.0.2.1 : 5060;rport;branch=z9hG4bK1,\r\n SIP/2.0/TCP [2001:db8::2];received=[2001:db8::3]\r\nf: \"A \\\" <b>, c\" <sip:al%69ce@example.com>;tag=1\r\nt: sip:bob@example.com;tag=2\r\ni: a\r\nCSeq: 1\r\n INVITE\r\nm: *, <sip:a@b>;q=0.5;expires=3\r\nAuthorization: Digest username=\"a\", realm=\"b\",Digest nonce=\"c\"\r\nc: multipart/mixed;boundary=b\r\nl: 80\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n--b--\r\n",
    b"\r\nSIP/2.0 200\nVia: SIP/2.0/UDP a\nFrom: <tel:+1-555-0100>\nTo: a <sip:b>;tag=x\nCall-ID: b\nCSeq: 4294967295 X\nRetry-After: 5 (later);duration=1\nSubscription-State: active;expires=9\nWWW-Authenticate: Digest realm=\"\\\"\",qop=\"auth,auth-int\",stale=TRUE\n\nv=0\nc=IN IP4 0.0.0.0\nm=audio 5/2 RTP/AVP 9\na=sendonly\nb=TIAS:1\n",
    b"sips:%41lice:pw@EXAMPLE.com.:05061;maddr=1;lr;x=\"y\"?h=%20&i=j",
];

#[derive(Clone, Debug)]
enum Edit {
    Replace(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let special = prop::sample::select(b"\r\n \t:;,<>\"\\@/?=%[]*()-\0\xff09azSIP".to_vec());
    prop_oneof![
        (any::<usize>(), special.clone()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<usize>(), 0..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (any::<usize>(), prop::collection::vec(special, 1..6))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 1..60_usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: Edit) {
    let place = |at: usize| at % (bytes.len() + 1);
    match edit {
        Edit::Replace(at, byte) => {
            let at = place(at);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        Edit::Remove(at, length) => {
            let at = place(at);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Edit::Insert(at, new) => {
            let at = place(at);
            bytes.splice(at..at, new);
        }
        Edit::Repeat(at, length) => {
            let at = place(at);
            let again = bytes[at..(at + length).min(bytes.len())].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        walk(&bytes);
    }

    #[test]
    fn words_of_the_grammar_in_any_order(
        words in prop::collection::vec(prop::sample::select(vec![
            "SIP/2.0", " ", "\r\n", "\r\n ", "Via", "v", ":", "From", "To", "Call-ID", "CSeq", "1 ", "INVITE",
            "sip:", "tel:", "a@b", "[::1]", ";", "tag=", ",", "<", ">", "\"", "\\", "%41", "%", "?", "*",
            "Digest ", "realm=", "m=", "v=0", "a=rtpmap:0 ", "--b", "boundary=b", "Content-Type",
        ]), 0..60)
    ) {
        walk(words.concat().as_bytes());
    }

    #[test]
    fn mutated_messages(seed in 0..SEEDS.len(), edits in prop::collection::vec(edit(), 0..8)) {
        let mut bytes = SEEDS[seed].to_vec();
        for edit in edits {
            apply(&mut bytes, edit);
        }
        walk(&bytes);
    }
}
